"""Shared memory, through which the workers of a dataloader hand over their batches: a container may have too little."""
import math
import mmap
import os
import pickle
import shutil
from collections.abc import Iterator
from io import BytesIO

import torch
from mmengine.config import Config

from ...data.verify.report import Finding
from ..processes import processes_here
from .samples import Sample

#: Where Linux has it. Docker gives a container 64 MB unless it is told otherwise.
FOLDER = '/dev/shm'
#: Batches that torch's workers prepare where the config does not say.
_PREFETCHED = 2


def check_shared_memory(cfg: Config, split: str, found: list[Sample]) -> Iterator[Finding]:
    """Batches that do not fit into shared memory: a worker that cannot hand over its batch prints a traceback, and
    training waits for it for ever (torch 2.11).

    Args:
        cfg: The config.
        split: One of its splits.
        found: Some of its images, whose mean stands for all.
    """
    dataloader = cfg[f'{split}_dataloader']
    workers = dataloader.get('num_workers') or 0
    if not workers or not found or not os.path.isdir(FOLDER):
        return
    batch = sum(_bytes_of(sample.item) for sample in found) / len(found) * (dataloader.get('batch_size') or 1)
    prefetched = dataloader.get('prefetch_factor') or _PREFETCHED
    processes = processes_here()
    held = (workers * prefetched + 1) * processes  # what the workers prepare, and what is worked on
    free = shutil.disk_usage(FOLDER).free
    if held * batch <= free:
        return
    fitting = int((free / batch / processes - 1) // prefetched)
    yield Finding(f'{split}_dataloader: {workers} workers keep up to {held} batches of {batch / 1e6:.1f} MB in shared '
                  f'memory, and {FOLDER} has {free / 1e6:.1f} MB left: the run would wait for ever',
                  f'give the container more, as by docker run --shm-size={math.ceil(held * batch / 5e8)}g or '
                  f'--ipc=host, or set {split}_dataloader.num_workers={max(0, fitting)}')


def _bytes_of(item: dict) -> int:
    """What the tensors of an image and its labels take in shared memory, which has pages; the rest goes by a pipe."""
    pickler = _TensorCounter(BytesIO())
    pickler.dump(item)
    return pickler.bytes


class _TensorCounter(pickle.Pickler):
    """Finds tensors wherever they are: what torch's own pickler would put into shared memory."""
    bytes = 0

    def persistent_id(self, value):
        if not isinstance(value, torch.Tensor):
            return None
        self.bytes += math.ceil(value.untyped_storage().nbytes() / mmap.PAGESIZE) * mmap.PAGESIZE
        return 'tensor'
