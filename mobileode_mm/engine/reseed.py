"""Random numbers that follow from seed and iteration alone, so that a resumed run repeats the undisturbed one."""
import itertools
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from torch.utils.data import get_worker_info

_DATA, _MODEL = 0, 1
# Seed, rank and iteration of the run at this moment. Workers of a data loader inherit it when they are forked.
_position = None


@HOOKS.register_module()
class ReseedHook(Hook):
    """Seed Python's, NumPy's and torch's generators anew at every iteration, from the run's seed and the rank.

    A checkpoint does not hold the state of the generators. With this hook, nothing before an iteration decides
    what is random in it: dropout, mixing of batches, and, with :func:`seed_worker` as the data loader's
    ``worker_init_fn``, the augmentation of its batch. A run resumed from the checkpoint of an epoch, or in an
    iteration-based loop of any iteration, has the losses of a run that was not stopped.

    Workers must not outlive an epoch (``persistent_workers=False``): they would not know where the next begins.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        _seed(runner, runner.iter, _DATA)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        _seed(runner, runner.iter, _MODEL)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        # runner.iter counts this iteration only after its hooks.
        _seed(runner, runner.iter + 1, _DATA)

    def after_val(self, runner) -> None:
        _seed(runner, runner.iter, _DATA)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Let a worker seed its generators for each batch, by the iteration that will use it."""
    if _position is None:  # a spawned worker inherits nothing
        _seed_generators(torch.initial_seed())
        return
    seed, rank, start = _position
    worker = get_worker_info()
    dataset = worker.dataset
    # Batches are dealt to the workers in turn.
    iterations = itertools.count(start + worker_id, worker.num_workers)
    fetch = getattr(dataset, '__getitems__', lambda indices: [dataset[index] for index in indices])

    def fetch_seeded(indices):
        _seed_generators(_mix(seed, rank, next(iterations), _DATA))
        return fetch(indices)

    dataset.__getitems__ = fetch_seeded  # torch's hook for datasets that load batches as a whole


def _seed(runner, iteration: int, purpose: int) -> None:
    global _position
    _position = runner.seed, get_rank(), iteration
    _seed_generators(_mix(*_position, purpose))


def _mix(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def _seed_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed % 2**63)
