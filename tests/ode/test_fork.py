"""Processes that are made after the kernels have run with two threads, of which a forked one has none."""

import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mobileode_mm.ode import ChannelwiseODESolver
from mobileode_mm.ode.backends import cpu_operators

pytestmark = [pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler'),
              pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='no fork here')]

SECONDS = 60


class Solved(Dataset):
    """Maps that a solver has gone over, with the gradient of its matrices: (144, 8, 8) and (3, 12, 12)."""

    def __init__(self, layer, maps):
        self.layer, self.maps = layer, maps

    def __len__(self):
        return len(self.maps)

    def __getitem__(self, index):
        y = self.layer(self.maps[index:index + 1])
        gradient, = torch.autograd.grad(y, self.layer.matrices, torch.ones_like(y))
        return y[0].detach(), gradient


@pytest.fixture
def solved():
    """Solved by this process, with two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    data = Solved(ChannelwiseODESolver(144, 144), torch.randn(2, 144, 8, 8))
    assert data.layer.backend_for(data.maps) == ('cpu', '')
    data.results = [data[index] for index in range(len(data))]
    yield data
    torch.set_num_threads(before)


def end_of(process):
    """Its exit status; None where it hangs, and is killed."""
    process.start()
    process.join(SECONDS)
    status = process.exitcode
    process.kill()
    process.join()
    return status


def test_a_forked_process_solves_alone(solved):
    def solve():
        for index, expected in enumerate(solved.results):
            torch.testing.assert_close(solved[index], expected)

    assert end_of(multiprocessing.get_context('fork').Process(target=solve)) == 0
    torch.testing.assert_close(solved[0], solved.results[0])  # with the threads that are still here


def test_forked_workers_of_a_loader(solved):
    loader = DataLoader(solved, batch_size=1, num_workers=2, multiprocessing_context='fork', timeout=SECONDS)
    for (y, gradient), expected in zip(loader, solved.results, strict=True):
        torch.testing.assert_close((y[0], gradient[0]), expected)


@pytest.mark.slow
def test_a_spawned_process(solved):
    assert end_of(multiprocessing.get_context('spawn').Process(target=solved.layer, args=(solved.maps, ))) == 0
