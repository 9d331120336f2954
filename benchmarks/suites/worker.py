"""What a suite does in processes of their own: ``python -m benchmarks.suites.worker TASK FOLDER``.

A crash, or the end by lack of memory, then ends one run and not the suite; and of OpenMMLab's global objects (log,
visualizer) each run has its own.
"""
import argparse
import math
import os
import sys
from numbers import Real
from pathlib import Path

import torch
from mmengine.config import Config

from mobileode_mm.apis import test, train
from mobileode_mm.backbones.timm_features import merge_branches
from mobileode_mm.checkpoints.matching import check_checkpoint
from mobileode_mm.checkpoints.resuming import find_resume_checkpoint
from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import BAD_INPUT, InputError, exit_status
from mobileode_mm.memory import keep_freed_memory
from mobileode_mm.runs.checks import check_parts, check_run
from mobileode_mm.runs.config import load_config
from mobileode_mm.runs.processes import ReportedElsewhere
from mobileode_mm.runs.runner import fix_dataloaders

from ..complexity import count
from ..machine import OtherPrograms, describe_machine
from ..output import write_json
from ..speed.networks import building, time_networks, timed
from .resampling import resampling_options

#: Files of a run's folder.
SETTINGS = 'settings.json'
TEST = 'test'
METRICS = 'test/metrics.json'
RESAMPLED = 'test/resampled.json'
#: Files of a suite's folder: what a worker is asked, and what it answers.
QUESTION = '.question.json'
ANSWER = '.answer.json'
ROUNDS = 30


def train_run(folder: Path, launcher: str) -> None:
    """Train the run of a folder, from its last checkpoint on where there is one."""
    run = read_json(folder / SETTINGS)
    base, weights = run.get('starts_from'), None
    if base:
        if not base['weights']:
            raise InputError(f'{base["name"]}, which it starts from, left no weights')
        weights, _ = find_resume_checkpoint(folder / base['folder'])
    train(run['config'], folder, True, run['amp'], run['auto_scale_lr'], weights, run['cfg_options'], launcher)


def test_run(folder: Path, launcher: str) -> None:
    """Evaluate the last checkpoint of a run's folder; None stands for a figure that is not finite."""
    run = read_json(folder / SETTINGS)
    path, _ = find_resume_checkpoint(folder)
    options = {**run['cfg_options'], **resampling_options(_load(run), folder / RESAMPLED)}
    metrics = test(run['config'], path, folder / TEST, cfg_options=options, launcher=launcher)
    # Not LoggerHook's JSON, which all processes of a run write at once.
    if int(os.environ.get('RANK', 0)) == 0:
        write_json(folder / METRICS, {name: float(value) if math.isfinite(value) else None
                                      for name, value in metrics.items() if isinstance(value, Real)})


def inspect(folder: Path, launcher: str) -> None:
    """Check the networks that a suite wants, and count what they cost.

    Where a run is to be trained, the data are checked too, once for each task.
    """
    costs, checked, states = [], set(), {}
    question = read_json(folder / QUESTION)
    bases = {network['starts_from'] for network in question['networks']}
    for network in question['networks']:
        cfg = _load(network)
        check_parts(cfg, 'train')
        check_parts(cfg, 'test')
        cfg.work_dir = str(folder)
        new = network['task'] not in checked and question['trains']
        check_run(cfg, ('train', 'test') if new else (), None, 'finetune')
        checked.add(network['task'])
        with building(cfg) as model:
            task, backbone, base = network['task'], network['backbone'], network['starts_from']
            if base:
                check_checkpoint(model, states[base, backbone],
                                 f'{task}, {backbone} starts from {base}: what that leaves', 'finetune')
            if task in bases:
                states[task, backbone] = model.state_dict()
            merge_branches(model.eval())
            cost = count(model, (1, 3, *network['input_size']), lambda model, x: model(x, mode='tensor'))
            costs.append(dict(parameters=cost.parameters, macs=cost.cost.macs))
    write_json(folder / ANSWER, dict(costs=costs, machine=describe_machine()))


def latency(folder: Path, launcher: str) -> None:
    """Time one image through every network, those of a task in turn, and measure how busy other programs were."""
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    networks = read_json(folder / QUESTION)['networks']
    times, others = [], OtherPrograms()
    for task in dict.fromkeys(network['task'] for network in networks):
        own = {network['backbone']: (_load(network), network['input_size']) for network in networks
               if network['task'] == task}
        times += [dict(task=task, backbone=name, **taken)
                  for name, taken in time_networks(own, device, ROUNDS).items()]
    write_json(folder / ANSWER, timed(times, ROUNDS, device, others))


def _load(network: dict) -> Config:
    cfg = load_config(network['config'], network['cfg_options'])
    fix_dataloaders(cfg)
    return cfg


_TASKS = dict(train=train_run, test=test_run, inspect=inspect, latency=latency)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument('task', choices=_TASKS)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--launcher', default='none')
    args = parser.parse_args(argv)
    keep_freed_memory()

    def work() -> int:
        try:
            _TASKS[args.task](args.folder, args.launcher)
        except ReportedElsewhere:
            return BAD_INPUT
        return 0

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
