"""Plots of what goes on inside a network, as a command."""
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mobileode_mm import cli, create_model


def main(arguments):
    return cli.main(['look-inside', *arguments])


CONFIG = str(Path(__file__).parents[3] / 'configs/classify_mobileode_mini.py')
SMALL = ['--cfg-options', 'model.backbone.widen_factor=0.25']


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Checkpoint of an untrained classifier, and an image."""
    folder = tmp_path_factory.mktemp('inside')
    model = create_model('mobileode_v1', num_classes=10, widen_factor=0.25, input_size=64)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple('abcdefghij')))),
               folder / 'net.pth')
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / 'image.png')
    return str(folder / 'net.pth'), str(folder / 'image.png')


@pytest.mark.parametrize('what', ['steps', 'trajectory', 'features'])
def test_draws(what, files, tmp_path, capsys):
    checkpoint, image = files
    out = tmp_path / 'new' / 'plot.png'
    arguments = [what, CONFIG, checkpoint, *([image] if what != 'steps' else []), '--out', str(out), *SMALL]
    assert main(arguments) == 0
    assert np.asarray(Image.open(out).convert('L')).std() > 5
    assert main(arguments) == 2
    assert 'exists already' in capsys.readouterr().err


@pytest.mark.parametrize('arguments, message', [
    (['--solver', 'backbone.stem'], 'there is no solver backbone.stem; there are backbone.stage2.1.project.solver'),
    (['--position', '9', '0'], 'position 9 0 is not on the map'),
    (['--out', 'plot.jpg'], 'must end in .png'),
])
def test_bad_input(arguments, message, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['trajectory', CONFIG, *files, '--out', 'plot.png', *arguments, *SMALL]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_networks_have_no_solvers(files, tmp_path, capsys):
    checkpoint = tmp_path / 'other.pth'
    model = create_model('mobilenet_v1', num_classes=10)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple('abcdefghij')))),
               checkpoint)
    config = CONFIG.replace('classify_mobileode', 'peers/classify_mobilenetv1')
    assert main(['steps', config, str(checkpoint), '--out', str(tmp_path / 'plot.png')]) == 2
    assert 'FittedClassifier has no channelwise ODE solver' in capsys.readouterr().err
