"""Our kernel as a library of operators that a runtime loads, compiled for this machine's processor."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..ode.backends.build import load_library
from ..ode.backends.compiler import FLAGS, NATIVE, SOURCES, NativeUnavailable, find_compiler

#: A folder for each runtime.
OPERATORS = Path(__file__).parent


def require_compiler() -> None:
    """InputError where neither PyTorch's kernels nor the library can be compiled."""
    try:
        find_compiler()
        load_library()
    except NativeUnavailable as error:
        raise InputError(f'--custom-ops compiles the kernels: {error}') from error


def build_library(operator: Path, flags: Sequence[str], out: Path) -> None:
    """Compile a library, in some seconds.

    Args:
        operator: The kernel as an operator of a runtime, in C++.
        flags: What that needs.
        out: The file to write.

    Raises:
        InputError: The compiler fails.
    """
    sources = [str(operator), str(SOURCES / 'inference.cpp')]
    # The threads are the runtime's.
    command = [*find_compiler(), *FLAGS, '-fno-openmp', *NATIVE, f'-I{SOURCES}', '-shared', *sources, *flags,
               '-o', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f'{out.name} cannot be compiled: {done.stderr.strip()[:500]}')
