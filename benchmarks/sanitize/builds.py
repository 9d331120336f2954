"""The library of kernels, built as a checker of memory or of threads needs it, and what runs it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sanitize import guard
from mobileode_mm.ode.backends import compiler

#: Seconds that compiling may take.
TIMEOUT = 3600
#: Processors of which GCC's -march has a name: the flags that /proc/cpuinfo has to list.
PROCESSORS = {
    'x86-64': (),
    'x86-64-v3': ('avx2', 'fma', 'bmi2', 'f16c', 'movbe'),
    'x86-64-v4': ('avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl'),
}


@dataclass(frozen=True)
class Part:
    """A build of the kernels and a process of its own that calls them.

    Attributes:
        title: What checks it.
        compiler, flags: Of the library; parts that have them and the processor alike share it.
        processor: Key of :data:`PROCESSORS`.
        environment: Variables of the process, made of the folder of this part.
        every: Which of the cases are run: all, or every n-th.
    """

    title: str
    compiler: str
    flags: tuple[str, ...]
    processor: str
    environment: Callable[[Path], Mapping[str, str]]
    every: int = 1

    def absent(self) -> str | None:
        """Why this part cannot run here; None where it can."""
        try:
            lines = Path('/proc/cpuinfo').read_text().splitlines()
        except OSError:
            return 'it is not Linux'
        has = set(next((line.split(':')[1] for line in lines if line.startswith('flags')), '').split())
        missing = [flag for flag in PROCESSORS[self.processor] if flag not in has]
        if not has or missing:
            return f'this processor has no {", ".join(missing) or "x86-64"}'
        if shutil.which(self.compiler) is None:
            return f'there is no {self.compiler}'
        if self.compiler == 'clang++' and not _archer():
            return "clang++ has no OpenMP with libarcher.so beside it (Debian's libomp-dev)"
        return None

    def library(self, folder: Path) -> Path:
        """The library, in a folder of its own below this one, built where the sources are newer.

        Raises:
            NativeUnavailable: The compiler fails.
        """
        name = '_'.join([self.compiler, self.processor, *self.flags])
        path = folder / ''.join(c if c.isalnum() else '_' for c in name) / 'kernels.so'
        newest = max(source.stat().st_mtime for source in compiler.SOURCES.iterdir())
        if not path.is_file() or path.stat().st_mtime < newest:
            path.parent.mkdir(parents=True, exist_ok=True)
            compiler.compile_library(path, [self.compiler], (*self.flags, '-g1', f'-march={self.processor}'), TIMEOUT)
        return path


def _printed(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ''


def _archer() -> Path | None:
    """The library of clang's OpenMP that says to ThreadSanitizer which threads wait for which."""
    found = shutil.which('clang++')
    if found is None:
        return None
    path = Path(os.path.realpath(found)).parents[1] / 'lib' / 'libarcher.so'
    return path if path.is_file() else None


def _asan(_: Path) -> dict[str, str]:
    # What Python itself does not give back at its end is no leak of ours.
    return {'LD_PRELOAD': _printed('g++', '-print-file-name=libasan.so'), 'ASAN_OPTIONS': 'detect_leaks=0',
            'UBSAN_OPTIONS': 'print_stacktrace=1'}


def _tsan(_: Path) -> dict[str, str]:
    # GCC's library serves clang's code, and can be loaded into a Python that is not instrumented; clang's own cannot.
    return {'LD_PRELOAD': _printed('g++', '-print-file-name=libtsan.so'), 'OMP_TOOL_LIBRARIES': str(_archer()),
            'TSAN_OPTIONS': 'ignore_noninstrumented_modules=1 halt_on_error=1'}


def _guard(side: str) -> Callable[[Path], dict[str, str]]:
    return lambda folder: guard.environment(guard.build_guard(folder), side)


#: All parts, by the names that ``--parts`` takes.
PARTS = {
    'asan': Part('AddressSanitizer, UndefinedBehaviorSanitizer', 'g++',
                 ('-O1', '-fsanitize=address,undefined', '-fno-sanitize=vptr', '-fno-sanitize-recover=all'), 'x86-64',
                 _asan),
    **{f'{side}-{processor}': Part(f'guard pages {words}', 'g++', ('-O3', ), processor, _guard(side))
       for processor in PROCESSORS for side, words in (('behind', 'behind memory'), ('before', 'before memory'))},
    'tsan': Part('ThreadSanitizer', 'clang++', ('-O1', '-fsanitize=thread'), 'x86-64', _tsan, every=10),
}
