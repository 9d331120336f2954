"""The C++ of :mod:`.cpu_operators`, compiled on first use and kept for this machine."""

import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from ..tracing import assume_constant_result

#: q: of the paper's networks, those with 576 channels expanded 9 times have the largest.
LARGEST_SIDE = 72
TORCH = Path(torch.__file__).parent
SOURCES = Path(__file__).with_name('csrc')
FLAGS = ('-std=c++17', '-O3', '-march=native', '-fopenmp', '-fPIC', '-fvisibility=hidden',
         f'-DLARGEST_SIDE={LARGEST_SIDE}')
#: Flags of the one file that includes torch beside those of all.
OPERATORS = 'operators.cpp'
TORCH_FLAGS = (f'-I{TORCH / "include"}', f'-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}')
LINKED = (f'-L{TORCH / "lib"}', '-ltorch_cpu', '-lc10')

logger = logging.getLogger('mobileode_mm')


class NativeUnavailable(RuntimeError):
    """The C++ files cannot be compiled or loaded here; the message says why and what to do."""


def cache_folder() -> Path:
    """Where the compiled files are kept: below ``TORCH_EXTENSIONS_DIR``, or the user's cache."""
    root = os.environ.get('TORCH_EXTENSIONS_DIR') or Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser()
    return Path(root) / 'mobileode_mm'


def find_compiler() -> str:
    """Path of the C++ compiler: ``CXX``, or the first that is installed.

    Raises:
        NativeUnavailable: There is none.
    """
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['c++', 'g++', 'clang++']
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise NativeUnavailable(f'no C++ compiler ({", ".join(names)}) is installed; install one, such as g++')
    return compiler


@functools.cache
def load_library() -> Path:
    """Give torch the operators, compiled if this machine does not have them yet (half a minute, once).

    Returns:
        Path: The compiled file.

    Raises:
        NativeUnavailable: No C++ compiler, or it fails.
    """
    compiler = find_compiler()
    version = subprocess.run([compiler, '--version'], capture_output=True, check=False).stdout
    # -march=native: a home folder may be shared by machines of different processors.
    parts = [*(source.name.encode() + source.read_bytes() for source in sorted(SOURCES.iterdir())), version,
             ' '.join(FLAGS).encode(), _processor(), f'{torch.__version__} {torch.compiled_with_cxx11_abi()}'.encode()]
    path = cache_folder() / f'operators_{hashlib.sha256(b"".join(parts)).hexdigest()[:16]}.so'
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                compile_library(compiler, Path(folder) / path.name)
                os.replace(Path(folder) / path.name, path)
        torch.ops.load_library(path)
    except OSError as error:
        raise NativeUnavailable(f'{path} cannot be made or loaded: {error}') from error
    return path


def compile_library(compiler: str, library: Path, flags: Sequence[str] = FLAGS) -> None:
    """Make the library of all files, which are compiled at once.

    Raises:
        NativeUnavailable: The compiler fails; the message has its first words.
    """
    logger.info('compiling the solver kernels with %s, once for this machine (about half a minute)', compiler)
    start = time.monotonic()
    objects, running = [], {}
    for source in sorted(SOURCES.glob('*.cpp')):
        objects.append(str(library.with_name(f'{source.name}.o')))
        extra = TORCH_FLAGS if source.name == OPERATORS else ()
        running[source.name] = subprocess.Popen([compiler, *flags, *extra, '-c', str(source), '-o', objects[-1]],
                                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    faults = {name: process.communicate()[1].strip() for name, process in running.items()}
    for name, process in running.items():
        if process.returncode:
            raise NativeUnavailable(f'{compiler} cannot compile {name}: {faults[name][:500]}')
    done = subprocess.run([compiler, *flags, '-shared', *objects, *LINKED, '-o', str(library)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise NativeUnavailable(f'{compiler} cannot link {library.name}: {done.stderr.strip()[:500]}')
    logger.info('compiled the solver kernels in %.0f s', time.monotonic() - start)


@assume_constant_result
def is_available() -> bool:
    """Whether the operators are here or can be compiled; one warning where they cannot."""
    return _is_available()


@functools.cache
def _is_available() -> bool:
    try:
        load_library()
    except NativeUnavailable as error:
        warnings.warn(f'MobileODE: solvers run uncompiled on this CPU: {error}', stacklevel=2)
        return False
    return True


def _processor() -> bytes:
    try:
        return b'\n'.join(sorted({line for line in Path('/proc/cpuinfo').read_bytes().splitlines()
                                  if line.startswith((b'flags', b'Features', b'model name'))}))
    except OSError:
        return platform.processor().encode()
