"""How the C++ of csrc/ becomes a library.

setup.py runs this file by itself, in an environment without torch: the standard library alone is imported.
"""
import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

#: q: of the paper's networks, those with 576 channels expanded 9 times have the largest.
LARGEST_SIDE = 72
SOURCES = Path(__file__).with_name('csrc')
#: Where a wheel has a library for each instruction set.
PREBUILT = Path(__file__).with_name('prebuilt')
#: Apple's compiler has no OpenMP: the kernels run in one thread there.
OPENMP = () if sys.platform == 'darwin' else ('-fopenmp', )
#: Of every library.
FLAGS = ('-std=c++17', '-O3', *OPENMP, '-fPIC', '-fvisibility=hidden', '-Wno-psabi', f'-DLARGEST_SIDE={LARGEST_SIDE}')
#: Of a library for this machine alone.
NATIVE = ('-march=native', ) if platform.machine() in ('x86_64', 'AMD64') else ('-mcpu=native', )
#: By processor, the instruction sets of a wheel's libraries and their flags, the fastest first. The flags are no more
#: than what torch asks the processor for before it names the set.
LEVELS: dict[str, dict[str, tuple[str, ...]]] = {
    'x86_64': {
        'AVX512': ('-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mfma'),
        'AVX2': ('-mavx2', '-mfma'),
        'x86-64': (),
    },
    'aarch64': {'NEON': ()},
    'arm64': {'NEON': ()},
}
#: Seconds after which a compiler is stopped.
TIMEOUT = 600
#: The same where wheels are made, which may be in an emulator.
EMULATED_TIMEOUT = 6 * 3600


class NativeUnavailable(RuntimeError):
    """The C++ files cannot be compiled or loaded here; the message says why and what to do."""


def find_compiler() -> list[str]:
    """The command of the C++ compiler: ``CXX``, which may have arguments, or the first that is installed.

    Raises:
        NativeUnavailable: There is none.
    """
    if sys.platform == 'win32':
        raise NativeUnavailable("the kernels are written in GCC's vectors, which Windows' compiler does not have")
    try:
        given = shlex.split(os.environ.get('CXX', ''))
    except ValueError as error:
        raise NativeUnavailable(f'CXX={os.environ["CXX"]} cannot be read: {error}') from error
    names = given[:1] or ['c++', 'g++', 'clang++']
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise NativeUnavailable(f'no C++ compiler ({", ".join(names)}) is installed; install one, such as g++')
    return [compiler, *given[1:]]


def compile_library(library: Path, compiler: list[str], flags: Sequence[str], timeout: float = TIMEOUT) -> None:
    """Compile csrc/ into a library, which appears whole or not at all, and write its checksum beside it.

    Args:
        library: The file; its folder exists.
        compiler: The command.
        flags: Beside :data:`FLAGS`.
        timeout: Seconds for all of it.

    Raises:
        NativeUnavailable: The compiler fails, or takes longer.
        OSError: The file cannot be written.
    """
    until = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(dir=library.parent) as name:
        folder = Path(name)
        sources = sorted(SOURCES.glob('*.cpp'))
        objects = [folder / f'{source.stem}.o' for source in sources]
        command = [*compiler, *FLAGS, *flags]
        run_all([[*command, '-c', str(source), '-o', str(out)] for source, out in zip(sources, objects)], until)
        made = folder / library.name
        run_all([[*command, '-shared', *map(str, objects), '-o', str(made)]], until)
        checksum = folder / 'checksum'
        checksum.write_text(_checksum(made))
        os.replace(made, library)
        os.replace(checksum, checksum_file(library))


def compile_levels(folder: Path) -> None:
    """Compile a library for each instruction set of this machine's kind of processor into a folder, which is made.

    One library of all would be smaller, but not safe: the linker keeps one copy of a template of the standard library
    that several of them use, and it may be one with instructions that the processor does not have.

    Raises:
        NativeUnavailable: There is no compiler, or it fails, or the processor's instruction sets are not known.
    """
    levels = LEVELS.get(platform.machine())
    if levels is None:
        raise NativeUnavailable(f'the instruction sets of {platform.machine()} are not known')
    compiler = find_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    for level, flags in levels.items():
        compile_library(folder / library_name(level), compiler, flags, EMULATED_TIMEOUT)


def run_all(commands: list[list[str]], until: float) -> None:
    """Run compilers at once; none of them is left behind.

    Args:
        commands: What to run.
        until: When to stop them, by ``time.monotonic()``.

    Raises:
        NativeUnavailable: One of them fails, or has not ended in time.
    """
    running: list[subprocess.Popen] = []
    try:
        for command in commands:
            # A session of its own: the programs that a compiler starts are stopped with it.
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True, errors='replace',
                                            start_new_session=True))
        for command, process in zip(commands, running):
            faults = process.communicate(timeout=max(until - time.monotonic(), 0))[1]
            if process.returncode:
                raise NativeUnavailable(f'{_shown(command)} fails: {_reason(process.returncode, faults)}')
    except subprocess.TimeoutExpired as error:
        raise NativeUnavailable(f'{_shown(error.cmd)} has not ended in time and was stopped') from error
    except OSError as error:
        raise NativeUnavailable(f'the compiler cannot be started: {error}') from error
    finally:
        for process in running:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stderr is not None:
                process.stderr.close()


def library_name(what: str) -> str:
    """The file name of the library for an instruction set, or of a key."""
    return f'kernels_{what}.so'


def checksum_file(library: Path) -> Path:
    """Where a library's checksum stands."""
    return library.with_name(f'{library.name}.sha256')


def is_whole(library: Path) -> bool:
    """Whether a library is there as it was compiled. One that was cut would end the process that loads it."""
    try:
        return checksum_file(library).read_text() == _checksum(library)
    except (OSError, UnicodeDecodeError):
        return False


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() + '\n'


def _shown(command: list[str]) -> str:
    """A command as a message has it: the compiler, and what it makes of which file."""
    return ' '.join([*command[:1], *(Path(word).name for word in command[1:] if word.endswith(('.cpp', '.so')))])


def _reason(status: int, faults: str) -> str:
    """Why a compiler failed: its first error, else what it said last."""
    if status < 0:
        return f'it was ended by signal {-status}, which memory that is not there may cause'
    lines = faults.strip().splitlines()
    return next((line for line in lines if 'error' in line.lower()), lines[-1] if lines else f'status {status}')[:500]
