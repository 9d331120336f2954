"""One run of a suite: its folder, its settings, its state and its result."""
import copy
import hashlib
import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from mmengine.config import Config

from mobileode_mm.analysis.scalars import read_scalars
from mobileode_mm.checkpoints.resuming import numbered_checkpoints
from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import INTERRUPTED, InputError
from mobileode_mm.runs.config import short_path

from .. import ROOT
from ..machine import commit
from ..output import write_json
from .suite import Network
from .worker import METRICS, SETTINGS

RESULT = 'result.json'
CONSOLE = 'console.log'
#: What can come of a run. Only a failed one is tried again.
DONE, DIVERGED, FAILED = 'done', 'diverged', 'failed'
# The final checkpoint is what counts: the best one by the metric is not kept.
_OPTIONS = {'default_hooks.checkpoint.save_best': None}


@dataclass(frozen=True, eq=False)  # each is itself, and can be a key
class Run:
    """A network with a seed.

    Attributes:
        network, seed: What is trained.
        folder: Work dir.
        processes: Of all machines together.
        base: The run that leaves the weights which the backbone starts from.
        amp, auto_scale_lr: As for :func:`mobileode_mm.apis.train`.
    """
    network: Network
    seed: int
    folder: Path
    processes: int = 1
    amp: bool = False
    auto_scale_lr: bool = False
    base: 'Run | None' = None

    @property
    def name(self) -> str:
        """For messages."""
        return f'{self.network.task}, {self.network.backbone}, seed {self.seed}'

    def settings(self) -> dict:
        """Everything that the figures follow from, and a checksum of it that covers the config's content."""
        network = self.network
        options = {**_OPTIONS, **network.cfg_options, 'randomness.seed': self.seed}
        settings = dict(task=network.task, backbone=network.backbone, seed=self.seed, config=str(network.config),
                        cfg_options=options, metrics=list(network.metrics), processes=self.processes, amp=self.amp,
                        auto_scale_lr=self.auto_scale_lr)
        if self.base:
            settings['starts_from'] = dict(name=self.base.name, folder=os.path.relpath(self.base.folder, self.folder),
                                           identity=self.base.settings()['identity'])
        cfg = Config.fromfile(network.config, import_custom_modules=False)
        try:
            cfg.merge_from_dict(copy.deepcopy(options))  # it takes _delete_ out of what it is given
        except Exception as error:
            raise InputError(f'cfg_options of the suite do not fit the config {network.config}: {error}') from error
        effective = json.loads(json.dumps(cfg.to_dict(), default=str))
        given = {key: value for key, value in settings.items() if key not in ('config', 'metrics')}
        settings['identity'] = checksum(dict(given, config=effective))
        return json.loads(json.dumps(settings))

    def result(self) -> dict | None:
        """What came of the run; None where it has not ended.

        Raises:
            InputError: The folder holds a run with other settings, or with weights that its base has since replaced; or
                a file in it is broken.
        """
        if not (self.folder / SETTINGS).is_file():
            return None
        kept, wanted = read_json(self.folder / SETTINGS), self.settings()
        if kept['identity'] != wanted['identity']:
            keys = ('cfg_options', 'processes', 'amp', 'auto_scale_lr')
            differing = [f'{key}: {kept[key]}, now {wanted[key]}' for key in keys if kept[key] != wanted[key]]
            bases = [settings.get('starts_from', {}).get('identity') for settings in (kept, wanted)]
            differing += ['in what it starts from'] * (bases[0] != bases[1])
            raise InputError(f'{short_path(self.folder)} is of a run with other settings '
                             f'({", ".join(differing) or "in its config"})')
        weights = kept['starts_from']['weights'] if self.base else None
        if weights and weights != self._weights():
            raise InputError(f'{short_path(self.folder)} did not start from what is now in '
                             f'{short_path(self.base.folder)}')
        return read_json(self.folder / RESULT) if (self.folder / RESULT).is_file() else None

    def begin(self) -> None:
        """Drop the result of an earlier attempt, and write down the settings of this one."""
        (self.folder / RESULT).unlink(missing_ok=True)
        # Until its first checkpoint a run has nothing of what it starts from, which may have been run anew since.
        if not (self.folder / SETTINGS).is_file() or not numbered_checkpoints(self.folder):
            settings = self.settings()
            if self.base:
                settings['starts_from']['weights'] = self._weights()
            write_json(self.folder / SETTINGS, settings)

    def execute(self, start: Callable[[list[str], Path], int]) -> tuple[str, str]:
        """Train and evaluate, or go on where that was stopped.

        Args:
            start: Runs a worker with these arguments, its output added to a file; returns its exit status.

        Returns:
            What came of it, and why.

        Raises:
            KeyboardInterrupt: A worker was interrupted.
        """
        for stage in ('train', 'test'):
            begin = (self.folder / CONSOLE).stat().st_size if (self.folder / CONSOLE).is_file() else 0
            code = start([stage, str(self.folder)], self.folder / CONSOLE)
            if code in (INTERRUPTED, -signal.SIGINT):
                raise KeyboardInterrupt
            status, reason = self._outcome(stage, code, begin)
            if status != DONE:
                break
        return status, reason

    def keep(self, status: str, reason: str, machine: str) -> dict:
        """Write and return the result; ``machine`` is what it ran on."""
        result = dict(status=status, reason=reason, metrics=self._tested() if status == DONE else None,
                      curve=self._curve(), machine=machine, commit=commit())
        write_json(self.folder / RESULT, result)
        if status == DONE:  # what a run can go on from is of no more use but for its end
            for path in numbered_checkpoints(self.folder)[1:]:
                path.unlink()
        return result

    def _curve(self) -> list[dict] | None:
        """The metrics of each validation, by its ``step``; None where there was one at most."""
        try:
            validations = read_scalars(self.folder).val
        except InputError:  # nothing logged
            return None
        curve = [{name: record[name] for name in ('step', *self.network.metrics) if name in record}
                 for record in validations]
        return curve if len(curve) > 1 else None

    def _weights(self) -> str | None:
        """Checksum of the result beside the weights that the backbone starts from; None where there are none."""
        result = self.base.result()
        return checksum(result) if result and result['status'] == DONE else None

    def _outcome(self, stage: str, code: int, begin: int) -> tuple[str, str]:
        diverged = self._non_finite_loss()
        if diverged:
            return DIVERGED, diverged
        if code:
            return FAILED, _reason(self.folder / CONSOLE, begin, code)
        if stage == 'train':
            return DONE, ''
        metrics = self._tested()
        missing = [name for name in self.network.metrics if name not in metrics]
        if missing:
            reason = f'the test gave no {", no ".join(missing)}'
            if metrics:
                reason += f', but {", ".join(metrics)}'
            elif 'coco/bbox_mAP' in missing:
                reason += '; mmdet gives none where nothing is detected in any image'
            return FAILED, reason
        bad = [name for name in self.network.metrics if metrics[name] is None]
        return (DIVERGED, f'{", ".join(bad)} is not finite') if bad else (DONE, '')

    def _tested(self) -> dict[str, float | None]:
        """Metrics that the last test gave; None for what is no finite number."""
        return read_json(self.folder / METRICS)

    def _non_finite_loss(self) -> str:
        try:
            records = read_scalars(self.folder).train
        except InputError:  # nothing logged so far
            return ''
        for record in records:
            for name, value in record.items():
                if 'loss' in name and isinstance(value, Real) and not math.isfinite(value):
                    return f'{name} was {value} at iteration {record["step"]}'
        return ''


def checksum(data) -> str:
    """SHA-256 of what can be written as JSON; the order of keys does not count."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _reason(console: Path, begin: int, code: int) -> str:
    """The line of the output that says why a run ended, from ``begin`` on."""
    if code < 0:
        hint = ' (out of memory?)' if code == -signal.SIGKILL else ''
        return f'ended by {signal.Signals(-code).name}{hint}'
    with open(console, 'rb') as file:
        file.seek(begin)
        text = file.read().decode(errors='replace')
    lines = [re.sub(r'^\[rank\d+\]: ?', '', line) for line in text.splitlines()]  # torch marks whose line it is
    errors = [line for line in lines if re.match(r'error: |[\w.]*(Error|Exception|Exit)\b', line)
              and 'ChildFailedError' not in line]
    return (errors or [line for line in lines if line.strip()] or [f'ended with status {code}'])[-1][:300]


def worker_command(processes: int) -> list[str]:
    """How a worker is started: by itself, or by ``tools/torchrun.sh`` where processes share a run."""
    module = ['-m', 'benchmarks.suites.worker']
    if processes == 1 and os.environ.get('NNODES', '1') == '1':
        return [sys.executable, *module]
    return ['bash', str(ROOT / 'tools/torchrun.sh'), str(processes), *module]
