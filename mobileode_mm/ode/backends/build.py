"""The library of the CPU kernels: the one that the wheel brought, else one compiled here, once for this machine."""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from ..tracing import assume_constant_result
from .compiler import (
    FLAGS,
    LEVELS,
    NATIVE,
    PREBUILT,
    SOURCES,
    TIMEOUT,
    NativeUnavailable,
    compile_library,
    find_compiler,
    is_whole,
    library_name,
)

#: ``compile`` leaves the wheel's libraries aside, for one compiled for this very processor; else the path of a library.
VARIABLE = 'MOBILEODE_KERNELS'

logger = logging.getLogger('mobileode_mm')


def cache_folder() -> Path:
    """Where compiled libraries are kept: below ``TORCH_EXTENSIONS_DIR``, or the user's cache."""
    root = os.environ.get('TORCH_EXTENSIONS_DIR') or os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    try:
        return Path(root).expanduser() / 'mobileode_mm'
    except RuntimeError:  # the user has no home, as in a container
        return Path(tempfile.gettempdir(), f'mobileode_mm_uid{os.getuid()}')


@functools.cache
def load_library() -> ctypes.CDLL:
    """The library with the functions of csrc/interface.cpp, compiled if need be (about a minute, once).

    Raises:
        NativeUnavailable: The wheel brought none for this machine, and none can be compiled, or loaded.
        ValueError: The environment asks for something that is no library.
    """
    asked = _asked()
    if asked not in ('', 'compile'):
        try:
            return ctypes.CDLL(asked)
        except OSError as error:
            raise ValueError(f'{VARIABLE}={asked} is neither "compile" nor a library: {error}') from error
    _, path = find_prebuilt()
    if path is not None:
        try:
            if not is_whole(path):
                raise OSError('it is not as it was compiled')
            return ctypes.CDLL(str(path))
        except OSError as error:
            logger.warning('%s is not used: %s. Install mobileode-mm again', path, error)
    path = compiled_library(find_compiler(), cache_folder())
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeUnavailable(f'{path} cannot be loaded: {error}') from error


def find_prebuilt() -> tuple[str, Path | None]:
    """The instruction set of this processor among those of a wheel, and the library for it; None where none is to be
    used, or came along."""
    levels = LEVELS.get(platform.machine())
    if _asked() or levels is None:
        return '', None
    capability = torch.backends.cpu.get_cpu_capability()
    level = capability if capability in levels else list(levels)[-1]
    path = PREBUILT / library_name(level)
    return level, path if path.exists() else None


def compiled_library(compiler: list[str], folder: Path, timeout: float = TIMEOUT) -> Path:
    """The library for this processor, compiled if the folder does not have it as it was compiled.

    Args:
        compiler: The command.
        folder: Where it is kept; it is made. One that others can write to is left aside for one of this process alone.
        timeout: Seconds that compiling may take, here or in another process.

    Raises:
        NativeUnavailable: The compiler fails, or takes longer, or the file cannot be written.
    """
    name = library_name(_key(compiler))
    if _is_usable(folder / name):
        return folder / name
    try:
        path = _own(folder) / name
        with _locked(path.with_suffix('.lock'), timeout):
            if _is_usable(path):  # by now
                return path
            if path.exists():
                logger.warning('%s is not as it was compiled: it is compiled anew', path)
            # Seen without a handler too: a program stands still for as long as this takes.
            logger.warning('compiling the CPU kernels with %s, once for this machine, about a minute', compiler[0])
            start = time.monotonic()
            compile_library(path, compiler, NATIVE, timeout)
            logger.warning('compiled the CPU kernels in %.0f s', time.monotonic() - start)
            return path
    except OSError as error:
        raise NativeUnavailable(f'the kernels cannot be kept in {folder}: {error}') from error


def describe() -> str:
    """Which kernels serve this machine, in words; nothing is compiled."""
    if _asked() not in ('', 'compile'):
        return f'{_asked()}, which {VARIABLE} names'
    level, path = find_prebuilt()
    if path is not None and is_whole(path):
        return f'prebuilt, {level}'
    try:
        compiler = find_compiler()
        path = cache_folder() / library_name(_key(compiler))
    except NativeUnavailable as error:
        return f"none, torch's operators serve: {error}"
    if _is_usable(path):
        return f'compiled for this processor, in {path.parent}'
    return f'not compiled yet: the first solver on a CPU does so, with {" ".join(compiler)}, in about a minute'


@assume_constant_result
def is_available() -> bool:
    """Whether the kernels are here or can be compiled; one warning where they cannot."""
    return _is_available()


@functools.cache
def _is_available() -> bool:
    try:
        load_library()
    except NativeUnavailable as error:
        warnings.warn(f'MobileODE: solvers run uncompiled on this CPU: {error}', stacklevel=2)
        return False
    return True


def _asked() -> str:
    return os.environ.get(VARIABLE, '')


def _key(compiler: list[str]) -> str:
    """What a compiled library depends on, short.

    Raises:
        NativeUnavailable: The compiler does not say its version.
    """
    try:
        version = subprocess.run([*compiler, '--version'], capture_output=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NativeUnavailable(f'the C++ compiler does not work: {error}') from error
    # A home folder may be shared by machines of different processors.
    parts = [*(source.name.encode() + source.read_bytes() for source in sorted(SOURCES.iterdir())), version,
             ' '.join([*compiler, *FLAGS, *NATIVE]).encode(), _processor()]
    return hashlib.sha256(b''.join(parts)).hexdigest()[:16]


def _processor() -> bytes:
    try:
        return b'\n'.join(sorted({line for line in Path('/proc/cpuinfo').read_bytes().splitlines()
                                  if line.startswith((b'flags', b'Features', b'model name'))}))
    except OSError:
        return platform.processor().encode()


def _is_usable(path: Path) -> bool:
    return is_whole(path) and _against(path.parent) is None and _against(path) is None


def _against(path: Path) -> str | None:
    """Why code in a file or folder may be another user's; None where it is not."""
    found = path.stat()
    if found.st_uid not in (0, os.getuid()):
        return 'it belongs to another user'
    return 'everybody may write to it' if found.st_mode & stat.S_IWOTH else None


def _own(folder: Path) -> Path:
    """The folder, made if need be, or one of this process alone where others may write to it, or this user may not."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = _against(folder) or (None if os.access(folder, os.W_OK) else 'it cannot be written to')
    except OSError as error:
        reason = str(error)
    if reason is None:
        return folder
    own = Path(tempfile.mkdtemp(prefix='mobileode_mm_'))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    logger.warning('%s does not keep the CPU kernels: %s. They are compiled for this process alone. Remove the folder, '
                   'or let TORCH_EXTENSIONS_DIR name one of your own', folder, reason)
    return own


@contextlib.contextmanager
def _locked(path: Path, timeout: float) -> Iterator[None]:
    """Keep other processes out; where the file system has no locks, nobody is kept out, and all compile.

    Raises:
        NativeUnavailable: Another process is in for longer than the timeout.
    """
    import fcntl  # which Windows lacks, where nothing is compiled
    until = time.monotonic() + timeout
    waits = False
    with open(path, 'w') as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waits:
                    logger.warning('waiting for another process, which compiles the CPU kernels')
                waits = True
                if time.monotonic() > until:
                    raise NativeUnavailable(f'another process holds {path} and has not compiled the kernels in '
                                            f'{timeout:.0f} s') from None
                time.sleep(0.1)
                continue
            except OSError:
                pass  # no locks here
            break
        yield
