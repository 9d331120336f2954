"""Kill a training at random moments and resume it: ``python benchmarks/chaos.py``; nothing that it logs may differ.

A small training is run undisturbed, and its phases are timed: start-up, epochs, checkpoints, validations, the writing
of the best checkpoint, the report. Then the same training is killed by SIGKILL at moments that a seed decides, each
time resumed, and compared: every logged value, every metric, the last weights, to the last digit; the files in its work
dir; the processes that outlive it. The last time, one of two processes is killed.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.machine import commit, describe_machine
from benchmarks.output import put_into_page, table, write_json
from mobileode_mm.analysis.scalars import BOOKKEEPING
from mobileode_mm.checkpoints.reading import read_checkpoint
from mobileode_mm.cli import exit_status
from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/classify_mobileode_mini.py'
#: A training of 24 iterations, each of which is logged.
SMALL = {'train_cfg.max_epochs': 3, 'train_dataloader.dataset.indices': 64, 'train_dataloader.batch_size': 8,
         'val_dataloader.dataset.indices': 100}
EACH_ITERATION = {'default_hooks.logger.interval': 1, 'log_processor': dict(type='LogProcessor', window_size=1)}
PHASES = ('start-up', 'epoch', 'checkpoint', 'validation', 'best checkpoint', 'report')
#: Seconds that the other processes of a killed one have to end.
PATIENCE = 20
#: Of the table's place on the page.
MARK = 'chaos'


class Chaos:
    """A training that is killed and resumed, in a folder of its own.

    Args:
        config: Config file.
        options: Dotted config keys and values that replace the file's.
        folder: Where the work dirs are made; those of trials are removed.
        processes: Of the training.
    """

    def __init__(self, config: str | Path, options: dict, folder: Path, processes: int = 1):
        self.config, self.options, self.folder, self.processes = str(config), options, folder.resolve(), processes
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = self.folder / f'whole_{processes}'
        self._remove(whole.name)
        begun = time.time()
        process = self._start(whole)
        if process.wait():
            raise InputError(f'the undisturbed training failed: see {whole}.txt')
        self.phases = _phases(whole, begun)
        self.whole = what_is_left(whole)

    def trial(self, kind: str, generator: random.Random, rank: int = 0) -> dict:
        """Kill one process in a phase of this kind, at a random time of it, and resume.

        Returns:
            ``phase``; ``seconds`` into it; ``iterations`` that were logged by then; ``exact``, and where it is not
            ``differs``; ``lost`` and ``left_over``, names of files; ``processes_left``.
        """
        phase = generator.choice([name for name in self.phases if name.rstrip(' 0123456789') == kind])
        share = generator.random()
        work_dir = self.folder / 'trial'
        while True:
            self._remove(work_dir.name)
            seconds = share * self.phases[phase]
            killed = self._start(work_dir, kill=dict(phase=phase, seconds=seconds, rank=rank))
            if phase == 'start-up':
                time.sleep(seconds)
                killed.kill()
            if killed.wait():
                break
            share /= 2  # this time it was faster, and came to its end
        left = _wait_for_the_end(work_dir)
        iterations = len(what_is_left(work_dir)['values'])
        status = self._start(work_dir, resume=True).wait()
        after = what_is_left(work_dir)
        differs = [name for name in ('values', 'metrics', 'weights') if not _same(self.whole[name], after[name])]
        return dict(
            phase=phase, processes=self.processes, seconds=round(seconds, 3), iterations=iterations,
            exact=not status and not differs, differs=differs or (['status'] if status else []),
            lost=sorted(self.whole['files'] - after['files']), left_over=sorted(after['files'] - self.whole['files']),
            processes_left=left)

    def _remove(self, name: str) -> None:
        """Remove a work dir, its output and its events, of an earlier start too."""
        for path in self.folder.glob(f'{name}*'):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _start(self, work_dir: Path, resume: bool = False, kill: dict | None = None) -> subprocess.Popen:
        task = dict(config=self.config, options=self.options, work_dir=str(work_dir), resume=resume, kill=kill,
                    launcher='pytorch' if self.processes > 1 else 'none')
        command = [sys.executable, __file__, '--child', json.dumps(task)]
        if self.processes > 1:
            command[1:1] = ['-m', 'mobileode_mm.runs.torchrun', '--standalone', f'--nproc_per_node={self.processes}']
        paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
        with open(f'{work_dir}.txt', 'a') as log:
            return subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': os.pathsep.join(filter(None, paths))})


def what_is_left(work_dir: Path) -> dict:
    """What a training logged and wrote.

    Returns:
        ``values``: of each iteration a dict by name, once for every run that logged it differently; ``metrics``: the
        same of each validation; ``weights``: of the last checkpoint; ``files``: names.
    """
    values, metrics = {}, {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut short by the kill
                continue
            target = values if 'iter' in record else metrics
            logged = {name: value for name, value in record.items() if name not in BOOKKEEPING}
            if logged not in target.setdefault(record['step'], []):
                target[record['step']].append(logged)
    names = {path.name for path in work_dir.glob('*') if path.is_file()}
    names = {name for name in names if not re.fullmatch(r'\d{8}_\d{6}\.py', name)}  # the config of each resumed run
    epochs = sorted(int(match[1]) for match in (re.fullmatch(r'epoch_(\d+)\.pth', name) for name in names) if match)
    weights = read_checkpoint(work_dir / f'epoch_{epochs[-1]}.pth')['state_dict'] if epochs else {}
    return dict(values=values, metrics=metrics, weights=weights, files=names)


def _same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items())


def _phases(work_dir: Path, begun: float) -> dict[str, float]:
    """Seconds of each phase by its name, which ends in the number of the epoch."""
    events = [json.loads(line) for line in Path(f'{work_dir}.events').read_text().splitlines()]
    events = [('start-up', begun), *events]
    return {name: following[1] - at for (name, at), following in zip(events, events[1:]) if name}


def _wait_for_the_end(work_dir: Path) -> int:
    """How many processes of a training are still there after ``PATIENCE`` seconds; they are killed then."""
    deadline = time.monotonic() + PATIENCE
    while (living := _living(work_dir)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in living:
        os.kill(process, signal.SIGKILL)
    return len(living)


def _living(work_dir: Path) -> list[int]:
    """Processes whose command names the work dir, as those of all ranks and of their data loaders do."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            arguments = path.read_bytes().decode(errors='replace').split('\0')
        except OSError:  # it has ended
            continue
        if '--child' in arguments and json.dumps(str(work_dir)) in arguments[-2]:
            found.append(int(path.parent.name))
    return found


def child(task: dict) -> None:
    """Run a training that notes when its phases begin, and may kill itself in one."""
    from mmengine.dist import get_rank
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    from mobileode_mm.runs.config import load_config
    from mobileode_mm.runs.training import train

    @HOOKS.register_module()
    class Moments(Hook):
        """Between the hooks that log and CheckpointHook."""

        priority = 85

        def _begin(self, name: str) -> None:
            if get_rank() == 0:
                with open(f'{task["work_dir"]}.events', 'a') as file:
                    print(json.dumps([name, time.time()]), file=file)
            kill = task['kill']
            if kill and kill['phase'] == name and kill['rank'] == get_rank():
                threading.Thread(target=self._kill, args=(kill['seconds'], ), daemon=True).start()

        def _kill(self, seconds: float) -> None:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGKILL)

        def before_train_epoch(self, runner):
            self._begin(f'epoch {runner.epoch + 1}')

        def after_train_epoch(self, runner):
            self._begin(f'checkpoint {runner.epoch + 1}')

        def before_val(self, runner):
            self._begin(f'validation {runner.epoch}')

        def after_val_epoch(self, runner, metrics=None):
            self._begin(f'best checkpoint {runner.epoch}')

        def after_val(self, runner):
            self._begin('')

        def after_train(self, runner):
            self._begin('report')

        def after_run(self, runner):
            self._begin('')

    options = {**task['options'], **EACH_ITERATION}
    hooks = load_config(task['config'], options).get('custom_hooks') or []
    train(task['config'], task['work_dir'], task['resume'], launcher=task['launcher'],
          cfg_options={**options, 'custom_hooks': [*hooks, dict(type='Moments')]})


def run(config: str | Path, options: dict, folder: Path, out: Path, moments: int, seed: int, minutes: float) -> dict:
    """Make the trials that a result file does not hold yet, for as long as ``minutes`` allow; returns its content."""
    until = time.monotonic() + 60 * minutes
    same = dict(config=os.path.relpath(config, ROOT), options=options, seed=seed,
                machine=describe_machine(torch.device('cpu')))
    content = read_json(out) if out.is_file() else {}
    if {name: content.get(name) for name in same} != same:
        content = dict(same, trials={})
    trainings = {}
    for number in range(moments + 1):
        if str(number) in content['trials']:
            continue
        if time.monotonic() > until:
            break
        processes = 2 if number == moments else 1
        if processes not in trainings:
            trainings[processes] = Chaos(config, options, folder, processes)
        kind = 'epoch' if processes == 2 else PHASES[number % len(PHASES)]
        trial = trainings[processes].trial(kind, random.Random(f'{seed}-{number}'), rank=processes - 1)
        content['trials'][str(number)] = dict(trial, commit=commit())
        print(json.dumps(trial), flush=True)
        write_json(out, content)
    return content


def markdown(content: dict) -> str:
    """The trials as a table, with what they were made on."""
    def cells(number: str, trial: dict) -> list[str]:
        exact = 'exact' if trial['exact'] else f'differs: {", ".join(trial["differs"])}'
        return [str(int(number) + 1), trial['phase'] + (', 1 of 2 processes' if trial['processes'] > 1 else ''),
                f'{trial["seconds"]:.2f}', str(trial['iterations']), exact,
                ', '.join(trial['lost']) or 'none', ', '.join(trial['left_over']) or 'none',
                str(trial['processes_left'])]

    trials = content['trials']
    options = ' '.join(f'{name}={value}' for name, value in content['options'].items())
    exact = sum(trial['exact'] for trial in trials.values())
    commits = ', '.join(dict.fromkeys(str(trial['commit']) for trial in trials.values()))
    return '\n'.join([
        f'{exact} of {len(trials)} exact. `{content["config"]}` with `{options}`, seed {content["seed"]}; commits of '
        f'the trials {commits}; {content["machine"]}.', '', table(
            ('', 'killed in', 'after, s', 'iterations logged', 'values, metrics, weights', 'files lost', 'left over',
             'processes left'), [cells(number, trial) for number, trial in trials.items()])])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description='Kill a training at random moments, resume it, and compare.')
    parser.add_argument('--config', default=CONFIG, help='default: that of the mini classifier, cut to 24 iterations')
    parser.add_argument('--moments', type=int, default=20, metavar='N', help='of one process (default: 20); one of two '
                        'processes follows')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/chaos'))
    parser.add_argument('--out', type=Path, metavar='FILE', help='result (default: chaos.json in the work dir); trials '
                        'that it holds are not made again')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='begin no trial after this time')
    parser.add_argument('--page', type=Path, metavar='FILE', help='put the table into this page, between its marks')
    parser.add_argument('--child', type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        return exit_status(lambda: child(args.child))
    return exit_status(lambda: _main(args))


def _main(args: argparse.Namespace) -> int:
    options = SMALL if Path(args.config) == CONFIG else {}
    out = args.out or args.work_dir / 'chaos.json'
    content = run(args.config, options, args.work_dir, out, args.moments, args.seed, args.minutes)
    text = markdown(content)
    print(text)
    if args.page:
        put_into_page(args.page, MARK, content, text)
    good = [trial['exact'] and not trial['lost'] and not trial['processes_left']
            for trial in content['trials'].values()]
    return 0 if all(good) and len(good) == args.moments + 1 else 1


if __name__ == '__main__':
    sys.exit(main())
