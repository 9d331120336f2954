"""The notebook in ``demo/``: its cells run in their order, and no outputs are committed."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / 'demo/inference.ipynb'


@pytest.fixture
def checkout(tmp_path):
    """A checkout after ``make demo``, but for the checkpoint."""
    (tmp_path / 'demo').mkdir()
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'mmodeconf').symlink_to(ROOT / 'mmodeconf')
    images = tmp_path / 'data/mini/coco/val2017'
    images.mkdir(parents=True)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(images / f'{number}.jpg')
    return tmp_path


def run_cells(checkout):
    cells = json.loads(NOTEBOOK.read_text())['cells']
    program = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code')
    environment = {name: value for name, value in os.environ.items() if name != 'MOBILEODE_DATA'}
    return subprocess.run([sys.executable, '-c', program + '\nprint(len(found), drawn[0].shape)'], text=True,
                          cwd=checkout / 'demo', env={**environment, 'PYTHONPATH': str(ROOT)}, capture_output=True)


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(checkout):
    cfg = load_config(ROOT / 'configs/ssdlite_mobileode_mini.py')
    with config_scope(cfg):
        model = build_model(cfg)
    work = checkout / 'work_dirs/demo'
    work.mkdir(parents=True)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple('abcdefghij')))),
               work / 'epoch_6.pth')
    done = run_cells(checkout)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert '../work_dirs/demo/epoch_6.pth 0.jpg 1.jpg 2.jpg' in lines
    assert lines[-1] == '3 (300, 400, 3)'


def test_without_a_checkpoint_it_says_what_to_do(checkout):
    done = run_cells(checkout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == 'There is no checkpoint in work_dirs/demo: run `make demo` first.'


def test_no_outputs_are_committed():
    cells = json.loads(NOTEBOOK.read_text())['cells']
    assert all(not cell['outputs'] and cell['execution_count'] is None for cell in cells if cell['cell_type'] == 'code')
