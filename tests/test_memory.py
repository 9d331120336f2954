"""Memory that is freed serves again."""
import os
import platform
import subprocess
import sys

import pytest

from mobileode_mm.memory import keep_freed_memory
from mobileode_mm.ode import cos_native

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')

COUNT = '''
import resource
import torch

def faults():
    """Pages that the system has to hand out while a step takes and frees memory for the third time."""
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(SIZE // 4) for _ in range(4)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
'''


def count(before: str, size: int) -> int:
    done = subprocess.run([sys.executable, '-c', f'{before}\n{COUNT.replace("SIZE", str(size))}\nprint(faults())'],
                          capture_output=True, text=True, check=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    return int(done.stdout)


KEEP = 'from mobileode_mm.memory import keep_freed_memory\nassert keep_freed_memory()'


def test_a_command_keeps_it():
    size = 48 << 20
    assert count('', size) > 4 * size / 4096 / 2
    assert count(KEEP, size) < 100


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv('MALLOC_ARENA_MAX', '1')
    assert not keep_freed_memory()


@pytest.mark.skipif(not cos_native.is_available(), reason='there is no C++ compiler here')
def test_a_program_with_solvers_keeps_some_of_it():
    size = 6 << 20
    assert count('', size) > 4 * size / 4096 / 2
    assert count('from mobileode_mm.ode import cos_native\ncos_native.library()', size) < 100
