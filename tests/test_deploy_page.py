"""The commands at the top of docs/deploy.md run in their order, as they stand there."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm.data.mini import make_mini_data
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')

ROOT = Path(__file__).parents[1]
ACTIVATE = '. .venv/bin/activate\n'


def commands():
    """The first block of the page, without the line that activates what these tests run in anyway."""
    block = (ROOT / 'docs/deploy.md').read_text().split('```bash\n')[1].split('```')[0]
    assert block.startswith(ACTIVATE)
    return block.removeprefix(ACTIVATE)


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """A checkout after ``make demo``, but that the network is untrained and the data are few."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('configs', 'mmodeconf', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    make_mini_data(folder / 'data/mini', detection=(8, 4), segmentation=(1, 1), classification=(10, 10))
    cfg = load_config(ROOT / 'configs/ssdlite_mobileode_mini.py')
    with config_scope(cfg):
        torch.manual_seed(0)
        model = build_model(cfg)
    calibrate_norms(model, lambda: model(torch.randn(4, 3, 192, 192), mode='tensor'))
    work = folder / 'work_dirs/demo'
    work.mkdir(parents=True)
    classes = tuple('0123456789')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes))), work / 'epoch_6.pth')
    (work / 'last_checkpoint').write_text(str(work / 'epoch_6.pth'))
    return folder


@pytest.mark.slow
def test_the_six_commands_run_in_order(checkout):
    assert commands().count('python tools/') == 6
    environment = {name: value for name, value in os.environ.items() if name != 'MOBILEODE_DATA'}
    path = f'{Path(sys.executable).parent}{os.pathsep}{environment["PATH"]}'
    done = subprocess.run(['bash', '-euo', 'pipefail', '-c', commands()], cwd=checkout, text=True, capture_output=True,
                          env={**environment, 'PATH': path, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0, done.stderr
    device = checkout / 'work_dirs/device'
    assert len(list((device / 'predictions/drawn').glob('*.jpg'))) == 4
    assert len(list((device / 'weights').glob('*.pth'))) == 1
    assert (device / 'detector.int8.onnx').stat().st_size < 0.4 * (device / 'detector.onnx').stat().st_size
    images = [json.loads(line)['image'] for line in done.stdout.splitlines() if line.startswith('{"image"')]
    assert len(images) == 4
    table = [line for line in done.stdout.splitlines() if line.startswith('| ssdlite_mobileode_mini | ')]
    assert [line.split(' | ')[1] for line in table] == ['eager', 'deploy', 'compiled', 'onnx', 'onnx-int8-size']
