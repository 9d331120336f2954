"""The processes of a suite: some at once, none that outlives it."""
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import torch

from mobileode_mm.cores import usable_cores

#: How long processes that were told to end may take.
WAIT_SECONDS = 15
_POLL_SECONDS = .1

#: Yields the arguments of a worker and where its output goes, and is sent the exit status; or yields None to wait.
Steps = Generator[tuple[list[str], Path] | None, int | None, None]


class Processes:
    """Starts commands that hold a lock as long as they live.

    Args:
        lock: File descriptor of the lock.
    """

    def __init__(self, lock: int) -> None:
        self._lock = lock

    def run(self, command: list[str], log: Path | None = None, environment: dict[str, str] | None = None) -> int:
        """Run a command to its end, with its output added to a file; returns its exit status."""
        process = self._start(command, log, environment or {})
        try:
            return process.wait()
        except BaseException:
            _stop([process])
            raise

    def run_all(self, command: list[str], tasks: Iterable[Callable[[], Steps]], jobs: int) -> None:
        """Run tasks in their order, ``jobs`` of them at once; what one raises, and an interrupt, stops all."""
        tasks, free, active = iter(tasks), list(range(jobs)), {}

        def go_on(slot: int, steps: Steps, code: int | None) -> None:
            try:
                step = steps.send(code)
            except StopIteration:
                free.append(slot)
                return
            process = None
            if step:
                args, log = step
                process = self._start([*command, *args], log, share(slot, jobs))
            active[slot] = steps, process

        try:
            while True:
                while free and (task := next(tasks, None)):
                    go_on(free.pop(0), task(), None)
                if not active:
                    return
                time.sleep(_POLL_SECONDS)
                for slot, (steps, process) in list(active.items()):
                    if not process or process.poll() is not None:
                        del active[slot]
                        go_on(slot, steps, process and process.returncode)
        except BaseException:
            _stop([process for _, process in active.values() if process])
            raise

    def _start(self, command: list[str], log: Path | None, environment: dict[str, str]) -> subprocess.Popen:
        libc = ctypes.CDLL(None)

        def end_with_parent():
            # A run must not go on by itself beside the one that takes its place.
            if sys.platform == 'linux':
                libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

        # Of a crash in compiled code the log shall tell the place.
        environment = {**os.environ, 'PYTHON': sys.executable, 'PYTHONUNBUFFERED': '1', 'PYTHONFAULTHANDLER': '1',
                       **environment}
        out = open(log, 'ab') if log else None  # noqa: SIM115
        try:
            return subprocess.Popen(command, stdout=out, stderr=out and subprocess.STDOUT, env=environment,
                                    pass_fds=[self._lock], preexec_fn=end_with_parent)
        finally:
            if out:
                out.close()


def share(slot: int, jobs: int) -> dict[str, str]:
    """Environment of one of several runs at once: its part of the cores, and where there are GPUs one of them."""
    if jobs == 1:
        return {}
    environment = {}
    if 'OMP_NUM_THREADS' not in os.environ:
        environment['OMP_NUM_THREADS'] = str(max(1, usable_cores() // jobs))
    told = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = told.split(',') if told else list(map(str, range(torch.cuda.device_count()))) if told is None else []
    if gpus:
        environment['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
    return environment


def _stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.send_signal(signal.SIGINT)
    end = time.monotonic() + WAIT_SECONDS
    for process in processes:
        try:
            process.wait(max(0., end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
