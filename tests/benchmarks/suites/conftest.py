"""A suite of one tiny task, in a folder of its own."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[3]

CONFIG = '''
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mobileode_mm.backbones', 'mobileode_mm.classification', 'trouble'])
model = dict(
    type='FittedClassifier', data_preprocessor=dict(mean=[127.] * 3, std=[64.] * 3, num_classes=3),
    backbone=dict(type='MobileODEV1', widen_factor=0.25, num_steps=1, input_size=32),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='DropoutLinearHead', num_classes=3, dropout=0.1, loss=dict(type='CrossEntropyLoss'), topk=(1, )))


def loader(split, train):
    return dict(
        batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=train),
        dataset=dict(type='CustomDataset', data_root='data/', data_prefix=split, test_mode=not train,
                     pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))


train_dataloader, val_dataloader, test_dataloader = loader('train', True), loader('val', False), loader('val', False)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, ))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=3)
val_cfg = test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=dict(type='LoggerHook', interval=1))
custom_hooks = [dict(type='Trouble')]
'''

# A run that breaks, one that is stopped with its whole suite, one whose weights become NaN.
TROUBLE = '''
import os, signal
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Trouble(Hook):

    def __init__(self, kind=None):
        self.kind = kind

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != 4:
            return
        if self.kind == 'fail' and not os.path.exists('fixed'):
            raise MemoryError('no room')
        if self.kind == 'diverge':
            with torch.no_grad():
                getattr(runner.model, 'module', runner.model).head.fc.weight.fill_(float('nan'))
        if self.kind == 'stop' and 'KILL' in os.environ:
            os.kill(os.getppid(), signal.SIGKILL)  # the suite; this process is to end with it
            signal.pause()
'''

# Options for a backbone that has trouble of a kind.
KIND = "cfg_options={'custom_hooks': [dict(type='Trouble', kind='%s')]}"
SUITE = f'''"""Three colours."""
tasks = dict(colours=dict(configs='tiny_{{}}.py', input_size=(32, 32), metrics=['accuracy/top1']))
backbones = {{
    'good': dict(config='v1', {KIND % 'stop'}),
    'broken': dict(config='v1', {KIND % 'fail'}),
    'wild': dict(config='v1', {KIND % 'diverge'}),
}}
seeds = [0]
'''


def _make_place(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 3)):
        for label, colour in enumerate(('blue', 'green', 'red')):
            (folder / 'data' / split / colour).mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 90, (32, 32, 3), np.uint8)
                image[8:24, 8:24, label] = 255
                assert cv2.imwrite(str(folder / 'data' / split / colour / f'{number}.png'), image)
    (folder / 'tiny_v1.py').write_text(CONFIG)
    (folder / 'trouble.py').write_text(TROUBLE)
    (folder / 'suite.py').write_text(SUITE)
    return folder


@pytest.fixture(scope='session')
def make_place():
    """Put data, a config and a suite into a folder, and return it."""
    return _make_place


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder: data, a config and a suite."""
    monkeypatch.chdir(_make_place(tmp_path))
    return tmp_path


@pytest.fixture(scope='session')
def finished(tmp_path_factory, run):
    """A folder where the suite has run to its end; its status, output and error output."""
    folder = _make_place(tmp_path_factory.mktemp('finished'))
    return folder, *run(folder, 'suite.py')


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Copy a folder for a test that spoils it, and make the copy the current one: ``copied(folder)``."""

    def copy(folder):
        monkeypatch.chdir(shutil.copytree(folder, tmp_path / 'copy'))
        return tmp_path / 'copy'

    return copy


@pytest.fixture(scope='session')
def start():
    """Start the tool in a folder: ``start(folder, 'suite.py', ...)``."""

    def start_tool(folder, *args, **environment):
        return subprocess.Popen(
            [sys.executable, str(ROOT / 'tools/benchmark.py'), *map(str, args)], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '',
                 'PYTHONPATH': f'{folder}{os.pathsep}{ROOT}', **environment})

    return start_tool


@pytest.fixture(scope='session')
def run(start):
    """Run the tool to its end: exit status, output, error output."""

    def run_tool(*args, **environment):
        process = start(*args, **environment)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    return run_tool
