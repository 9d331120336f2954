"""The mini detector, trained as users train it: losses, AP, images a second, data loading's share; once under DDP."""
import functools
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mobileode_mm.analysis.scalars import read_scalars
from mobileode_mm.cli import main
from mobileode_mm.data import make_mini_data
from mobileode_mm.runs.config import DATA_VARIABLE

from .. import ROOT
from ..suites.execution import ensure_mini_data
from .part import Case, Plan, table_of

TITLE = 'Training'
CONFIG, PEER = 'configs/ssdlite_mobileode_mini.py', 'configs/peers/ssdlite_mobilenetv2_mini.py'
OPTIONS = ('default_hooks.logger.interval=10', 'log_processor.window_size=10')
DRY_OPTIONS = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=2',
               'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
               'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
               'default_hooks.logger.interval=1')
#: Logged iterations at the start that no rate is taken from.
WARM_UP = 2


def cases(plan: Plan) -> Iterator[Case]:
    """Triton and torch's operators with mixed precision, under NCCL, and the peer."""
    def case(title: str, config: str, *options: str, processes: int = 0) -> Case:
        return Case(title, functools.partial(_train, plan, config, options, processes))

    if plan.is_dry:
        yield case('operators', CONFIG, *DRY_OPTIONS, 'model.backbone.solver_backend=operators')
        return
    workers = f'train_dataloader.num_workers={min(8, os.cpu_count() or 1)}'
    yield case('triton, amp', CONFIG, workers, 'model.backbone.solver_backend=triton')
    yield case('triton, amp, DDP of one process', CONFIG, workers, 'model.backbone.solver_backend=triton',
               'train_cfg.max_epochs=2', processes=1)
    yield case('operators, amp', CONFIG, workers, 'model.backbone.solver_backend=operators')
    yield case('MobileNetV2, amp', PEER, workers)


def markdown(rows: list[dict]) -> str:
    """A line a training."""
    return table_of(rows, {'config': 'config', 'iterations': 'iterations', 'first loss': 'first_loss',
                           'last loss': 'last_loss', 'AP': 'ap', 'images/s': 'images_per_second',
                           'share of data loading': 'data_share', 'memory, MB': 'memory'})


def _train(plan: Plan, config: str, options: tuple[str, ...], processes: int) -> dict:
    """Train by the command, under torchrun where ``processes`` says how many."""
    with tempfile.TemporaryDirectory(prefix='mobileode-gpu-') as folder:
        arguments = ['train', str(ROOT / config), '--work-dir', f'{folder}/run', *['--amp'] * (not plan.is_dry),
                     '--cfg-options', *OPTIONS, *options]
        if plan.is_dry:
            make_mini_data(Path(folder, 'data/mini'), detection=(4, 2), segmentation=(1, 1), classification=(10, 10))
            os.environ[DATA_VARIABLE] = str(Path(folder, 'data'))
            status, said = main(arguments), 'see the log'
        else:
            ensure_mini_data()
            status, said = _run(arguments, processes, plan)
        if status:
            raise RuntimeError(f'it ended with status {status}: {said}')
        scalars = read_scalars(f'{folder}/run')
    batch = next((int(option.partition('=')[2]) for option in options if 'train_dataloader.batch_size' in option), 16)
    settled = scalars.train[WARM_UP:] or scalars.train
    time = statistics.median(row['time'] for row in settled)
    losses = [row['loss'] if math.isfinite(row['loss']) else None for row in scalars.train]
    return dict(
        config=config, iterations=scalars.train[-1]['step'], first_loss=losses[0], last_loss=losses[-1],
        losses=losses,
        ap=scalars.val[-1].get('coco/bbox_mAP') if scalars.val else None, images_per_second=batch / time,
        data_share=statistics.median(row['data_time'] for row in settled) / time,
        memory=scalars.train[-1].get('memory'), error='a loss is not finite' if None in losses else None)


def _run(arguments: list[str], processes: int, plan: Plan) -> tuple[int, str]:
    """The command in a process of its own, or in several; returns the exit status and the last line."""
    start = ['bash', str(ROOT / 'tools/torchrun.sh'), str(processes)] if processes else [sys.executable]
    done = subprocess.run([*start, '-m', 'mobileode_mm', *arguments], env={**os.environ, 'PYTHON': sys.executable},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=max(1.0, plan.seconds_left()))
    print(done.stdout, flush=True)
    return done.returncode, (done.stdout.strip().splitlines() or [''])[-1]
