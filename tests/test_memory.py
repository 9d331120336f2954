"""Memory that is freed serves again."""
import platform
import subprocess
import sys

import pytest

from mobileode_mm.memory import keep_freed_memory
from mobileode_mm.ode.backends import cpu_operators

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')

# Page faults would not do: where the gaps lie, and so how many there are, differs from run to run.
KEPT = '''
import ctypes
import torch

class mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost')]

ask = ctypes.CDLL(None).mallinfo
ask.restype = mallinfo
before = ask().fordblks
torch.ones(SIZE // 4)
print(ask().fordblks - before)
'''


def kept(size: int, before: str = '') -> int:
    """Bytes of a tensor that the process still has after the tensor is freed."""
    done = subprocess.run([sys.executable, '-c', f'{before}\n{KEPT.replace("SIZE", str(size))}'],
                          capture_output=True, text=True, check=True)
    return int(done.stdout)


KEEP = 'from mobileode_mm.memory import keep_freed_memory\nassert keep_freed_memory()'


def test_a_command_keeps_it():
    size = 48 << 20
    assert kept(size) < size / 2
    assert kept(size, KEEP) > 0.9 * size


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv('MALLOC_ARENA_MAX', '1')
    assert not keep_freed_memory()


@pytest.mark.skipif(not cpu_operators.is_available(), reason='there is no C++ compiler here')
def test_a_program_that_uses_solvers_keeps_its_own_setting():
    solvers = 'from mobileode_mm.ode.backends import build\nbuild.load_library()'
    size = 24 << 20
    assert kept(size, solvers) < size / 2
