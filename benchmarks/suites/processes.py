"""The processes of a suite: none of them outlives it."""
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from mobileode_mm.runs.processes import usable_cores

from .. import ROOT

#: How long processes that are to end may take.
WAIT_SECONDS = 15
#: Runs a command that ends, on Linux, with the thread that started it: a run must not go on by itself beside the one
#: that takes its place.
TIED = [sys.executable, '-c', 'import ctypes, os, sys\n'
         'sys.platform == "linux" and ctypes.CDLL(None).prctl(1, 15)  # PR_SET_PDEATHSIG, SIGTERM\n'
         'os.execvp(sys.argv[1], sys.argv[1:])']


class Processes:
    """Runs commands that hold a lock as long as they live; what ends the context early ends them.

    Args:
        lock: File descriptor of the lock.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock
        self._living: set[subprocess.Popen] = set()
        self._is_open, self._guard = True, threading.Lock()

    def __enter__(self) -> 'Processes':
        return self

    def __exit__(self, *_) -> None:
        with self._guard:
            self._is_open = False
            living = list(self._living)
        for process in living:
            process.send_signal(signal.SIGINT)
        end = time.monotonic() + WAIT_SECONDS
        for process in living:
            try:
                process.wait(max(0., end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> int:
        """Run a command to its end, with its output added to a file; returns its exit status.

        Raises:
            KeyboardInterrupt: The context has ended, before the command or while it ran.
        """
        # Workers find this very package; of a crash in compiled code the log shall tell the place.
        path = [os.environ.get('PYTHONPATH'), str(ROOT)]
        environment = {**os.environ, 'PYTHON': sys.executable, 'PYTHONUNBUFFERED': '1', 'PYTHONFAULTHANDLER': '1',
                       'PYTHONPATH': os.pathsep.join(filter(None, path)), **(environment or {})}
        with open(log, 'ab') as out:
            with self._guard:
                if not self._is_open:
                    raise KeyboardInterrupt
                process = subprocess.Popen([*TIED, *command], stdout=out, stderr=subprocess.STDOUT, env=environment,
                                           pass_fds=[self._lock])
                self._living.add(process)
            process.wait()
        with self._guard:
            if not self._is_open:
                raise KeyboardInterrupt
            self._living.remove(process)
        return process.returncode


def share(slot: int, jobs: int) -> dict[str, str]:
    """Environment of one of several runs at once: its part of the cores, and where there are GPUs one of them."""
    if jobs == 1:
        return {}
    environment = {}
    if 'OMP_NUM_THREADS' not in os.environ:
        environment['OMP_NUM_THREADS'] = str(max(1, usable_cores() // jobs))
    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = chosen.split(',') if chosen else list(map(str, range(torch.cuda.device_count()))) if chosen is None else []
    if gpus:
        environment['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
    return environment
