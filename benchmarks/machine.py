"""What figures were measured on."""

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mobileode_mm.doctor import DISTRIBUTIONS, installed, version_of
from mobileode_mm.runs.processes import usable_cores

from . import ROOT

#: Cores' worth of other programs beside which times are still those of a machine of its own.
UNDISTURBED = 0.2


def describe_machine(device: torch.device | None = None) -> str:
    """Processor, GPU, threads and versions, in one line.

    Args:
        device: What the figures were measured on; default the GPU where there is one.
    """
    if device is None:
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    cpuinfo = Path('/proc/cpuinfo')
    model = re.search(r'^model name\s*: (.+)$', cpuinfo.read_text() if cpuinfo.is_file() else '', re.MULTILINE)
    hardware = [model[1] if model else platform.machine()]
    if device.type == 'cuda':
        hardware.insert(0, torch.cuda.get_device_name(device))
    versions = [f'torch {version_of("torch")}', *(f'{name} {version_of(name)}' for toolbox in DISTRIBUTIONS
                                                  for names in installed(toolbox) for name in names)]
    return (f'{", ".join(hardware)}, {torch.get_num_threads()} threads of {usable_cores()} cores, Python '
            f'{platform.python_version()}, {", ".join(versions)}')


def commit() -> str | None:
    """Commit of the checkout, with ``+`` where files differ from it; None where git cannot tell."""
    git = ['git', '-C', str(ROOT)]
    try:
        head = subprocess.run([*git, 'rev-parse', '--short=12', 'HEAD'], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, 'status', '--porcelain'], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + '+' * bool(changes.stdout.strip())


def seconds_of_others(stat: Path = Path('/proc/stat')) -> float | None:
    """Seconds that all cores together have worked for other programs than this one, since the machine's start.

    By how much it grows tells whether a measurement had the machine to itself: beside another program of two threads
    one of ours, on two cores, took over fifty times as long (our measurement): each one's threads wait for each other.

    Args:
        stat: The kernel's counters; where there are none, as outside Linux, the answer is None.
    """
    if not stat.is_file():
        return None
    user, nice, system, _, _, *interrupts_and_stolen = map(int, stat.read_text().split('\n')[0].split()[1:9])
    ticks = user + nice + system + sum(interrupts_and_stolen)
    return ticks / os.sysconf('SC_CLK_TCK') - time.process_time()


def are_disturbed(busy: float, cores: int, threads: int) -> bool:
    """Whether times of so many threads are not those of a machine of its own, beside programs that kept cores busy."""
    return busy > cores - threads + UNDISTURBED


class OtherPrograms:
    """What runs beside a measurement, from the moment that this is made."""

    def __init__(self) -> None:
        self._load, self._seconds, self._begin = os.getloadavg()[0], seconds_of_others(), time.perf_counter()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """What is done meanwhile does not count: a compiler that we start is another program too."""
        seconds, begin = seconds_of_others(), time.perf_counter()
        yield
        if self._seconds is not None:
            self._seconds += seconds_of_others() - seconds
        self._begin += time.perf_counter() - begin

    def busy(self) -> float | None:
        """The cores that other programs have kept busy until now; None where the kernel does not say."""
        if self._seconds is None:
            return None
        return max((seconds_of_others() - self._seconds) / (time.perf_counter() - self._begin), 0)

    def report(self, threads: int) -> str:
        """Whether times of so many threads, the most that were measured, had the machine to themselves."""
        text = f'load average {self._load:.1f} before and {os.getloadavg()[0]:.1f} after'
        busy, cores = self.busy(), usable_cores()
        if busy is None:
            return text
        return (f'{text}; other programs kept {busy:.1f} of {cores} cores busy'
                f'{", and the times are disturbed by that" * are_disturbed(busy, cores, threads)}')
