"""The parts one after the other: their processes, their time, and what is written of them while they run."""
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from mobileode_mm.data.json_file import read_json
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.errors import InputError
from mobileode_mm.ode.backends import gpus
from mobileode_mm.runs.processes import usable_cores

from .. import ROOT
from ..machine import commit, describe_machine
from ..output import table, write_json
from ..speed.report import free_folder
from ..suites.processes import TIED
from . import PARTS
from .part import journal_of
from .proposal import TABLE, aims, propose

SUMMARY = 'gpu.md'
DRY = '**Dry run**: tiny shapes on a CPU, Triton in its interpreter. It tells that the parts run; no figure counts.'
#: Of the time that is left, by part, relative to the parts that follow.
WEIGHTS = dict(parity=4, sanitizer=1.5, layers=3, models=4, training=2, tuning=2)
#: Seconds that a process may take to end by itself.
GRACE = 20
#: Parts without times, which several processes share: what takes long in them is compiling.
UNTIMED = ('parity', 'sanitizer')
MOST_SHARDS = 16
#: Memory of the GPU for each of them: what the reference takes of the largest case.
SHARD_BYTES = 5e9


def run_parts(out: Path, parts: list[str], minutes: float, is_dry: bool) -> bool:
    """Run parts, write ``PART.json``, ``PART.md`` and ``PART.log`` of each, then ``gpu.md`` and the table of this GPU.

    Args:
        out: Folder of the results; those of other parts, from an earlier run, are used.
        parts: Of :data:`PARTS`, in the order in which they run.
        minutes: For all of them. What does not fit in is left out, and said so.
        is_dry: On the CPU, with tiny shapes, all in one process.

    Returns:
        Whether everything that ran is right.

    Raises:
        InputError: There is no GPU, or results would be written over.
    """
    if not is_dry and not torch.cuda.is_available():
        raise InputError('torch finds no GPU here; --dry-run walks through every part on the CPU')
    names = [f'{part}.{suffix}' for part in parts for suffix in ('json', 'md', 'log')]
    if not any((out / f'{part}.json').exists() for part in PARTS):  # else what sums up is of an earlier run
        names += [SUMMARY, TABLE.name]
    free_folder(out, tuple(names))
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device('cpu' if is_dry else 'cuda:0')
    facts = dict(machine=describe_machine(device), commit=commit(), is_dry=is_dry,
                 architecture=gpus.architecture(device.index), kernels=gpus.checksum(),
                 device='' if is_dry else torch.cuda.get_device_name(device))
    until = time.time() + 60 * minutes
    results = []
    for group in [parts] if is_dry else [[part] for part in parts]:
        left = parts[parts.index(group[0]):]
        share = sum(WEIGHTS[part] for part in group) / sum(WEIGHTS[part] for part in left)
        ends = time.time() + max(0.0, until - time.time()) * share
        shards = 1 if is_dry or group[0] not in UNTIMED else _shards(device)
        print(f'{", ".join(group)}: {max(0.0, ends - time.time()):.0f} s, processes: {shards}', flush=True)
        run = _Run(out, group, shards, ends, is_dry)
        try:
            for is_complete in run.watch():
                found = [_write(out, part, run, facts, is_complete) for part in group]
        finally:
            run.clear()
        results += found
        for result in found:
            faults = sum(row['error'] is not None for row in result['rows'])
            print(f'{result["part"]}: {len(result["rows"])} cases, {faults} failed{_open_end(result)}', flush=True)
        _write_summary(out, facts)
    return all(row['error'] is None for result in results for row in result['rows'])


def _shards(device: torch.device) -> int:
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(MOST_SHARDS, usable_cores(), int(memory / SHARD_BYTES)))


class _Run:
    """Processes that share the cases of some parts; one that a fault ends is started again for the cases that are left.

    Args:
        out, parts, is_dry: As in :func:`run_parts`.
        shards: How many there are.
        until: When they stop.
    """

    def __init__(self, out: Path, parts: list[str], shards: int, until: float, is_dry: bool):
        self._out, self._parts, self._shards, self._until, self._is_dry = out, parts, shards, until, is_dry
        #: Cases that had not ended when the time was over.
        self.unfinished: list[str] = []
        self._living: dict[int, subprocess.Popen] = {}
        self._begun = [0] * shards

    def watch(self) -> Iterator[bool]:
        """Run to the end; False whenever rows have come, at the end whether all cases have run."""
        seen, is_complete = 0, True
        try:
            for shard in range(self._shards):
                self._start(shard)
            while self._living:
                time.sleep(0.2)
                for shard, process in list(self._living.items()):
                    status = process.poll()
                    if status is not None or time.time() > self._until + GRACE:
                        del self._living[shard]
                        is_complete &= self._end(shard, process, status)
                rows = sum(len(self.rows(part)) for part in self._parts)
                if rows > seen:
                    seen = rows
                    yield False
            yield is_complete and not self.unfinished and time.time() < self._until
        finally:
            for process in self._living.values():
                _kill(process)

    def rows(self, part: str) -> list[dict]:
        """Of the cases that have ended."""
        rows = [row for shard in range(self._shards) for row in journal_of(self._out, part, shard).read()[1].values()]
        return rows if self._shards == 1 else sorted(rows, key=lambda row: row['case'])

    def clear(self) -> None:
        """Remove the journals."""
        for part in self._parts:
            for shard in range(self._shards):
                journal_of(self._out, part, shard).path.unlink(missing_ok=True)

    def _start(self, shard: int) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        environment = {**os.environ, 'PYTHONPATH': path, 'PYTHONUNBUFFERED': '1', 'PYTHONFAULTHANDLER': '1'}
        if self._is_dry:
            environment |= {'TRITON_INTERPRET': '1', 'TORCH_COMPILE_DISABLE': '1', 'CUDA_VISIBLE_DEVICES': ''}
        command = [sys.executable, '-m', 'benchmarks.gpu_parts.worker', str(self._out), *self._parts,
                   '--until', str(self._until), '--shard', str(shard), '--shards', str(self._shards)]
        with open(self._out / f'{self._parts[0]}.log', 'ab') as log:
            self._living[shard] = subprocess.Popen([*TIED, *command, *['--dry-run'] * self._is_dry], stdout=log,
                                                   stderr=subprocess.STDOUT, env=environment, start_new_session=True)

    def _end(self, shard: int, process: subprocess.Popen, status: int | None) -> bool:
        """What is left to do for a process that has ended, or (None) has to; whether its cases go on or are done."""
        if status is None:
            _kill(process)
        count = 0
        for part in self._parts:
            journal = journal_of(self._out, part, shard)
            begun, rows = journal.read()
            count += len(begun)
            for name in begun:
                if name not in rows and not status:  # it was cut off, or its time was over
                    self.unfinished.append(name)
                elif name not in rows:
                    journal.end(name, dict(error=f'its process ended: {_said(status)}'))
        if not status:
            return status == 0
        if count == self._begun[shard]:  # it would do so again
            journal_of(self._out, self._parts[0], shard).end(
                f'start of process {shard}', dict(error=f'it ended before any case: {_said(status)}; see the log'))
            return False
        if time.time() > self._until:
            return False
        self._begun[shard] = count
        self._start(shard)
        return True


def _said(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f'status {status}'


def _kill(process: subprocess.Popen) -> None:
    """End a process with all that it started: its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _write(out: Path, part: str, run: _Run, facts: dict, is_complete: bool) -> dict:
    result = dict(part=part, **facts, is_complete=is_complete, unfinished=run.unfinished, rows=run.rows(part))
    write_json(out / f'{part}.json', result)
    try:
        module = importlib.import_module(f'.{part}', __package__)
        title, body = module.TITLE, module.markdown(result['rows'])
    except Exception:  # the figures are written, and the next part may do
        title, body = part, f'This page failed; the figures are in {part}.json.\n\n```\n{traceback.format_exc()}```'
    head = [f'# {title}', f'{facts["machine"]}; commit {facts["commit"] or "unknown"}.']
    if facts['is_dry']:
        head.append(DRY)
    if not is_complete:
        head.append(f'Not all of it{_open_end(result)}.')
    AtomicLocalBackend().put_text('\n\n'.join([*head, body]) + '\n', out / f'{part}.md')
    return result


def _open_end(result: dict) -> str:
    if result['is_complete']:
        return ''
    cut = f'; not ended in time: {", ".join(result["unfinished"])}' if result['unfinished'] else ''
    return f': cases are left{cut}'


def _write_summary(out: Path, facts: dict) -> None:
    """Everything that the folder holds, and the table of GPUs with this one where its kernels have been proved."""
    found = {part: read_json(out / f'{part}.json') for part in PARTS if (out / f'{part}.json').is_file()}
    lines = []
    for part, result in found.items():
        faults = [row for row in result['rows'] if row['error'] is not None]
        lines.append([f'[{part}]({part}.md)', str(len(result['rows'])), str(len(faults)),
                      _open_end(result).removeprefix(': ') or 'all'])
    parts = ['# What this GPU did', f'{facts["machine"]}; commit {facts["commit"] or "unknown"}.',
             *[DRY] * facts['is_dry'], table(['part', 'cases', 'failed', 'reached'], lines),
             table(['aim', 'wanted', 'measured'], aims(found))]
    entries = propose(found)
    if entries is not None and not facts['is_dry']:
        write_json(out / TABLE.name, entries)
        parts.append(f'[{TABLE.name}]({TABLE.name}) is the table of GPUs with this one: it goes to '
                     f'`{TABLE.relative_to(ROOT)}` once the figures above are right.')
    AtomicLocalBackend().put_text('\n\n'.join(parts) + '\n', out / SUMMARY)
