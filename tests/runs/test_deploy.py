"""A test runs in the deploy form: after the checkpoint is loaded, before the network is compiled."""
import pickle

import pytest
import torch
from mmengine.registry import DefaultScope

from mobileode_mm.apis import Inferencer
from mobileode_mm.apis import test as evaluate
from mobileode_mm.cli import main

# With averaged weights, which an EMAHook puts into the network for the test.
CONFIG = '''
_base_ = 'classification.py'
custom_imports = dict(imports=['mobileode_mm', 'mobileode_mm.classification'])
model = dict(
    type='FittedClassifier',
    backbone=dict(_delete_=True, type='mobileode_mm.MobileODEV1', widen_factor=0.125, input_size=64),
    head=dict(in_channels=9))
train_cfg = dict(max_epochs=1)
train_dataloader = val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False)
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
'''
SAYS = 'FittedClassifier is tested in its deploy form'


@pytest.fixture(scope='module')
def place(shared_place, run):
    """A folder with a config and its checkpoint."""
    (shared_place / 'ours.py').write_text(CONFIG)
    status, _, errors = run(shared_place, 'train.py', 'ours.py', '--work-dir', 'run')
    assert status == 0, errors
    return shared_place


@pytest.fixture(autouse=True)
def checkpoint(place, monkeypatch):
    monkeypatch.chdir(place)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield 'run/epoch_1.pth'


def log_of(folder):
    return next(folder.glob('*/*.log')).read_text()


def scores_in(path):
    return torch.stack([sample['pred_score'] for sample in pickle.loads(path.read_bytes())])


def test_same_metrics_in_either_form(checkpoint, place):
    found = {}
    for name, options in (('trained', dict(deploy=False)), ('deployed', {}),
                          ('compiled', dict(cfg_options={'compile.backend': 'eager'}))):
        metrics = evaluate('ours.py', checkpoint, name, out=f'{name}.pkl', **options)
        found[name] = {key: f'{value:.4f}' for key, value in metrics.items() if 'time' not in key}
        assert (SAYS in log_of(place / name)) == (name != 'trained')
        torch.testing.assert_close(scores_in(place / f'{name}.pkl'), scores_in(place / 'trained.pkl'))
    assert found['deployed'] == found['compiled'] == found['trained'] != {}
    log = log_of(place / 'compiled')
    assert log.index(SAYS) < log.index('Compiled on their first batches')


def test_the_flag_leaves_the_network_as_it_was_trained(checkpoint, place):
    assert main(['test', 'ours.py', checkpoint, '--work-dir', 'whole', '--no-deploy']) == 0
    assert SAYS not in log_of(place / 'whole')


def test_the_log_says_once_why_a_backend_declines(checkpoint, place, run):
    status, _, errors = run(place, 'test.py', 'ours.py', checkpoint, '--work-dir', 'declined', '--no-deploy',
                            '--cfg-options', 'model.backbone.solver=heun')
    assert status == 0, errors
    reason = "ChannelwiseODESolver runs by operators: cpu: the kernels take Euler steps, and the solver is 'heun'"
    assert log_of(place / 'declined').count(reason) == 1


def test_the_inferencer_has_either_form(checkpoint, place):
    deployed = Inferencer('ours.py', checkpoint, 'cpu')
    trained = Inferencer('ours.py', checkpoint, 'cpu', deploy=False)
    assert deployed.model.deploy and not trained.model.deploy
    images = sorted(map(str, (place / 'data/folders/val/red').iterdir()))
    for found, expected in zip(deployed(images), trained(images), strict=True):
        torch.testing.assert_close(torch.from_numpy(found.scores), torch.from_numpy(expected.scores))
