"""A training that has diverged is ended with one message, before its weights are kept."""
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mobileode_mm.cli import main
from mobileode_mm.engine import DivergenceHook
from mobileode_mm.errors import InputError

from .toy import toy_config


class Spoil(Hook):
    """Makes the loss NaN in one iteration, and a weight or a statistic from there on."""

    priority = 'VERY_HIGH'

    def __init__(self, iteration, weight=True):
        self.iteration, self.weight = iteration, weight

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration:
            outputs['loss'] = torch.tensor(float('nan'))
            if self.weight:
                torch.nn.init.constant_(runner.model.layers[2].bias, float('nan'))


@pytest.mark.parametrize('iteration, ended', [(3, 4), (8, 12), (15, 16)])
def test_it_ends_at_the_next_look(iteration, ended, tmp_path):
    """At every fourth of the eight iterations of an epoch; the loss stays NaN once a weight is."""
    runner = Runner(**toy_config(tmp_path, hooks=[Spoil(iteration), DivergenceHook(interval=4)]))
    message = rf'diverged: at iteration {ended} the loss is nan.*hold NaN, layers.*optimizer\.lr'
    with pytest.raises(InputError, match=message):
        runner.train()
    kept = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert kept == ['epoch_1.pth'] * (iteration >= 8), 'of the epoch that diverged nothing is kept'


def test_a_loss_alone_does_not_end_it(tmp_path):
    """As in mixed precision, where such a step is left out."""
    runner = Runner(**toy_config(tmp_path, epochs=1, hooks=[Spoil(3, False), DivergenceHook(interval=4)]))
    runner.train()
    assert (tmp_path / 'epoch_1.pth').exists()


def test_every_training_looks(place, capsys):
    options = ['optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None']
    assert main(['train', 'segmentation.py', '--cfg-options', *options]) == 2
    message = capsys.readouterr().err
    assert 'error: the training has diverged' in message and 'Traceback' not in message
    assert not list(place.glob('work_dirs/*/*.pth'))


def test_the_assertion_of_mmdets_hook(place, capsys):
    options = ['optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None']
    added = 'custom_hooks=[dict(type="CheckInvalidLossHook",interval=1)]'
    assert main(['train', 'detection.py', '--cfg-options', *options, '--cfg-new', added]) == 2
    message = capsys.readouterr().err
    assert 'error: the loss is no finite number at iteration ' in message and 'CheckInvalidLossHook' in message
