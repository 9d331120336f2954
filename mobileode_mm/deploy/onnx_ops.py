"""Our kernel as a library of onnxruntime: ``SessionOptions.register_custom_ops_library`` takes it."""

import subprocess
from pathlib import Path

from ..errors import InputError
from ..ode.backends.build import load_library
from ..ode.backends.compiler import FLAGS, NATIVE, SOURCES, NativeUnavailable, find_compiler

_OPERATOR = Path(__file__).with_name('ort') / 'operator.cpp'


def require_compiler() -> None:
    """InputError where neither PyTorch's kernels nor the library can be compiled."""
    try:
        find_compiler()
        load_library()
    except NativeUnavailable as error:
        raise InputError(f'--custom-ops compiles the kernels: {error}') from error


def build_library(out: Path) -> None:
    """Compile the library for this machine's processor, in some seconds.

    Args:
        out: The file to write.

    Raises:
        InputError: The compiler fails.
    """
    sources = [str(_OPERATOR), str(SOURCES / 'inference.cpp')]
    # The session's threads share the work.
    command = [*find_compiler(), *FLAGS, '-fno-openmp', *NATIVE, f'-I{SOURCES}', '-shared', *sources, '-o', str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f'{out.name} cannot be compiled: {done.stderr.strip()[:500]}')
