"""What the workers of a dataloader hand over their batches through, shared memory and open files: a container may have
too little of either."""
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
from ..config import type_name
from ..processes import processes_here, raise_open_files
from .samples import Sample

#: Where Linux has it. Docker gives a container 64 MB unless it is told otherwise.
FOLDER = '/dev/shm'
#: Batches that torch's workers prepare where the config does not say.
_PREFETCHED = 2


def check_shared_memory(cfg: Config, split: str, found: list[Sample]) -> Iterator[Finding]:
    """Batches for which there is too little shared memory, or too few files: a worker that cannot hand over its batch
    prints a traceback, and training waits for it for ever (torch 2.11).

    Args:
        cfg: The config.
        split: One of its splits.
        found: Some of its images, whose mean stands for all.
    """
    dataloader = cfg[f'{split}_dataloader']
    workers = dataloader.get('num_workers') or 0
    if not workers or not found or not os.path.isdir(FOLDER):
        return
    tensors = [_tensors_of(sample.item) for sample in found]
    images = dataloader.get('batch_size') or 1
    prefetched = dataloader.get('prefetch_factor') or _PREFETCHED
    batch = sum(counter.bytes for counter in tensors) / len(found) * images
    processes = processes_here()
    held = (workers * prefetched + 1) * processes  # what the workers prepare, and what is worked on
    free = shutil.disk_usage(FOLDER).free
    if held * batch > free:
        fitting = int((free / batch / processes - 1) // prefetched)
        yield Finding(f'{split}_dataloader: {workers} workers keep up to {held} batches of {batch / 1e6:.1f} MB in '
                      f'shared memory, and {FOLDER} has {free / 1e6:.1f} MB left: the run would wait for ever',
                      f'give the container more, as by docker run --shm-size={math.ceil(held * batch / 5e8)}g or '
                      f'--ipc=host, or set {split}_dataloader.num_workers={max(0, fitting)}')
    # Each tensor is an open file of the worker until its batch is taken; images that are stacked are one.
    stacked = type_name(dataloader.get('collate_fn') or {}) == 'default_collate'
    files = int((sum(counter.number for counter in tensors) / len(found) - stacked) * images * prefetched)
    most = raise_open_files()
    if most is not None and files > most:
        yield Finding(f'{split}_dataloader: a worker keeps {files} files open for {prefetched} batches of {images} '
                      f'images, and a process may have {most} here: the run would wait for ever',
                      f'allow more, as by ulimit -n {2 * files} or docker run --ulimit nofile={2 * files}, or set '
                      f'{split}_dataloader.num_workers=0')


def _tensors_of(item: dict) -> '_TensorCounter':
    """The tensors of an image and its labels, which go by shared memory, which has pages; the rest goes by a pipe."""
    pickler = _TensorCounter(BytesIO())
    pickler.dump(item)
    return pickler


class _TensorCounter(pickle.Pickler):
    """Finds tensors wherever they are: what torch's own pickler would put into shared memory."""
    bytes = number = 0

    def persistent_id(self, value):
        if not isinstance(value, torch.Tensor):
            return None
        self.number += value.untyped_storage().nbytes() > 0
        self.bytes += math.ceil(value.untyped_storage().nbytes() / mmap.PAGESIZE) * mmap.PAGESIZE
        return 'tensor'
