"""Processes that are made after the kernels have run with two threads, of which a forked one has none."""

import multiprocessing
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mobileode_mm.ode import ChannelwiseODESolver
from mobileode_mm.ode.backends import cpu_operators

SECONDS = 60
pytestmark = [pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler'),
              pytest.mark.skipif('fork' not in multiprocessing.get_all_start_methods(), reason='no fork here')]


class Solved(Dataset):
    """Maps that a solver has gone over, with the gradient of its matrices: (144, 8, 8) and (3, 12, 12)."""

    def __init__(self):
        torch.manual_seed(0)
        self.layer, self.maps = ChannelwiseODESolver(144, 144), torch.randn(2, 144, 8, 8)
        assert self.layer.backend_for(self.maps) == ('cpu', '')

    def __len__(self):
        return len(self.maps)

    def __getitem__(self, index):
        y = self.layer(self.maps[index:index + 1])
        gradient, = torch.autograd.grad(y, self.layer.matrices, torch.ones_like(y))
        return y[0].detach(), gradient


def end_of(process):
    """Its exit status; None where it hangs, and is killed."""
    process.start()
    process.join(SECONDS)
    status = process.exitcode
    process.kill()
    process.join()
    return status


def forked():
    """A forked process solves alone, as do the workers of a loader, and this one goes on with its two threads."""
    torch.set_num_threads(2)
    solved = Solved()
    results = list(map(solved.__getitem__, range(len(solved))))

    def solve():
        for index, expected in enumerate(results):
            torch.testing.assert_close(solved[index], expected)

    assert end_of(multiprocessing.get_context('fork').Process(target=solve)) == 0
    loader = DataLoader(solved, batch_size=1, num_workers=2, multiprocessing_context='fork', timeout=SECONDS)
    for (y, gradient), expected in zip(loader, results, strict=True):
        torch.testing.assert_close((y[0], gradient[0]), expected)
    torch.testing.assert_close(solved[0], results[0])


def test_forked_processes():
    """In a process of their own: torch refuses a backward pass in a fork of one whose autograd has threads."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, timeout=3 * SECONDS, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_spawned_process():
    solved = Solved()
    assert end_of(multiprocessing.get_context('spawn').Process(target=solved.layer, args=(solved.maps, ))) == 0


if __name__ == '__main__':
    forked()
