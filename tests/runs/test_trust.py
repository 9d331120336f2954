"""No way into a training or a test lets a checkpoint run code, unless it is trusted."""
import os
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mobileode_mm.checkpoints.reading import restricted_loading
from mobileode_mm.cli import main
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config


class RunsCode:

    def __reduce__(self):
        return os.makedirs, ('made', 0o777, True)


def save(path, **more):
    """A checkpoint of the classifier; with ``extra=RunsCode()`` one that makes a folder where it is unpickled."""
    cfg = load_config('classification.py')
    with config_scope(cfg):
        torch.manual_seed(0)
        model = build_model(cfg)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1, iter=4, seed=3), **more), path)


WAYS = {
    'resume': ('train', ['--resume', 'bad.pth']),
    'the latest of the work dir': ('train', ['--resume']),
    'load_from': ('train', ['--cfg-options', 'load_from=bad.pth']),
    'load_backbone': ('train', ['--load-backbone', 'bad.pth']),
    'init_cfg of the backbone': ('train', ['--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
                                              'model.backbone.init_cfg.checkpoint=bad.pth',
                                              'model.backbone.init_cfg.prefix=backbone.']),
    'init_cfg of the network': ('train', ['--cfg-options', 'model.init_cfg.type=Pretrained',
                                             'model.init_cfg.checkpoint=bad.pth']),
    'test': ('test', ['bad.pth']),
}


@pytest.mark.parametrize('way', WAYS)
def test_code_is_run_on_no_way(way, place, capfd):
    command, arguments = WAYS[way]
    save('bad.pth', extra=RunsCode())
    if way.startswith('the latest'):
        Path('run').mkdir()
        Path('bad.pth').rename('run/epoch_1.pth')
    assert main([command, 'classification.py', *arguments, '--work-dir', 'run']) == 2
    reported = capfd.readouterr().err
    assert 'reading such objects can run any code' in reported and '--trust-checkpoint' in reported
    assert not os.path.exists('made')


def test_trust_is_given_by_a_flag(place, capfd):
    save('bad.pth', extra=RunsCode())
    arguments = ['test', 'classification.py', 'bad.pth', '--work-dir', 'run', '--cfg-options',
                 'test_dataloader.num_workers=0']
    assert main(arguments) == 2
    assert not os.path.exists('made')
    assert main([*arguments, '--trust-checkpoint']) == 0
    assert os.path.isdir('made')


def test_what_the_checks_do_not_see_is_not_run_either(place):
    """MMEngine's own loader, which networks with a teacher call where they are built."""
    save('bad.pth', extra=RunsCode())
    loaders = CheckpointLoader._schemes
    with restricted_loading():
        with pytest.raises(InputError, match='reading such objects can run any code'):
            CheckpointLoader.load_checkpoint('bad.pth')
        with pytest.raises(InputError, match='is not read: of addresses only'):
            CheckpointLoader.load_checkpoint('s3://bucket/bad.pth')
    assert not os.path.exists('made')
    assert CheckpointLoader._schemes is loaders
    CheckpointLoader.load_checkpoint('bad.pth')  # without the guard it is
    assert os.path.isdir('made')
