"""The allocator with guard pages, guard.c: compiled, and given to a process."""

import ctypes
import subprocess
from pathlib import Path

from mobileode_mm.errors import InputError

_SOURCE = Path(__file__).with_name('guard.c')


def build_guard(folder: Path) -> Path:
    """Compile the allocator; returns the library, which a process takes by ``LD_PRELOAD``."""
    library = folder.resolve() / 'guard.so'
    done = subprocess.run(['cc', '-O2', '-Wall', '-shared', '-fPIC', str(_SOURCE), '-o', str(library), '-lpthread',
                           '-ldl'], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f'{_SOURCE.name} cannot be compiled (it needs Linux with glibc): {done.stderr.strip()[:500]}')
    return library


def environment(library: Path, side: str) -> dict[str, str]:
    """Variables of a process whose memory ends (``side`` is ``'behind'``) or begins (``'before'``) at a guard page."""
    return {'LD_PRELOAD': str(library), 'GUARD_SIDE': side}


def counts() -> dict[str, int]:
    """In such a process: how many allocations were ``guarded``, and how many with an alignment were not."""
    program = ctypes.CDLL(None)
    found = {}
    for name in ('guarded', 'unguarded'):
        function = getattr(program, f'guard_{name}')
        function.restype = ctypes.c_size_t
        found[name] = function()
    return found
