"""A backbone from one task into another, at another image size."""
import shutil

import pytest
import torch

from mobileode_mm import MobileODEV1, create_model
from mobileode_mm.cli import main

SMALL = dict(widen_factor=0.25, input_size=96)
CONFIG = '''
_base_ = 'detection.py'
custom_imports = dict(imports=['mobileode_mm'])
model = dict(
    backbone=dict(_delete_=True, type='MobileODEV1', widen_factor=0.25, input_size=64, out_indices=(4, 5)),
    neck=dict(in_channels=[36, 36]))
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=0.0))
'''


@pytest.fixture
def classifier(place):
    """A classification checkpoint, trained at another size than the detector is."""
    (place / 'mine.py').write_text(CONFIG)
    torch.manual_seed(0)
    model = create_model('mobileode_v1', num_classes=7, **SMALL)
    for name, value in model.state_dict().items():
        if name.endswith('solver.norm.weight'):
            torch.nn.init.normal_(value)
    torch.save(dict(state_dict=model.state_dict()), 'classifier.pth')
    return model


@pytest.mark.parametrize('by', ['flag', 'config'])
@pytest.mark.slow
def test_a_classifiers_backbone_starts_a_detector(classifier, place, capsys, by):
    arguments = ['--load-backbone', 'classifier.pth']
    if by == 'config':
        init_cfg = "dict(type='Pretrained', checkpoint='classifier.pth', prefix='backbone.')"
        (place / 'mine.py').write_text(CONFIG.replace('out_indices', f'init_cfg={init_cfg}, out_indices'))
        arguments = []
    assert main(['train', 'mine.py', '--work-dir', 'run', *arguments]) == 0
    log = next((place / 'run').glob('*/*.log')).read_text()
    assert '175 loaded, 32 of them resampled, 0 missing, 0 unexpected' in log
    trained = torch.load('run/epoch_1.pth', weights_only=False)['state_dict']
    expected = MobileODEV1(widen_factor=0.25, input_size=64)
    expected.load_state_dict(classifier.backbone.state_dict())
    for name, value in expected.named_parameters():
        torch.testing.assert_close(trained[f'backbone.{name}'], value, msg=name)


@pytest.mark.parametrize('change, reported', [
    (dict(widen_factor=0.5), 'entries of backbone match'),
    (dict(num_steps=4), 'entries of backbone match'),
])
def test_another_networks_backbone_is_an_error(place, capsys, change, reported):
    (place / 'mine.py').write_text(CONFIG)
    torch.save(create_model('mobileode_v1', **{**SMALL, **change}).state_dict(), 'other.pth')
    assert main(['train', 'mine.py', '--work-dir', 'run', '--load-backbone', 'other.pth']) == 2
    message = capsys.readouterr().err
    assert reported in message and 'of another shape' in message and 'Traceback' not in message
    assert not (place / 'run').exists()


def test_an_absent_checkpoint_is_an_error(place, capsys):
    (place / 'mine.py').write_text(CONFIG)
    assert main(['train', 'mine.py', '--load-backbone', 'nowhere.pth']) == 2
    assert 'nowhere.pth' in capsys.readouterr().err


def test_averaged_weights_start_with_the_others(place, capsys):
    """mmpretrain's hook would take the average of the earlier run, whose head has another number of classes."""
    options = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.num_workers=0',
               'val_dataloader.num_workers=0')
    with open('classification.py', 'a') as config:
        config.write("\ncustom_hooks = [dict(type='EMAHook', momentum=0.1)]\n")
    assert main(['train', 'classification.py', '--work-dir', 'three', *options]) == 0
    assert 'ema_state_dict' in torch.load('three/epoch_1.pth', weights_only=False)
    for split in ('train', 'val'):
        shutil.rmtree(place / f'data/folders/{split}/green')
    assert main(['train', 'classification.py', '--work-dir', 'two', *options, 'load_from=three/epoch_1.pth',
                 'model.head.num_classes=2', 'model.data_preprocessor.num_classes=2']) == 0
    weights = torch.load('two/epoch_1.pth', weights_only=False)
    assert len(weights['state_dict']['head.fc.weight']) == len(weights['ema_state_dict']['module.head.fc.weight']) == 2
