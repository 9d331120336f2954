"""A run that is resumed with another config: who wins, and what is refused."""
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mobileode_mm.engine  # noqa: F401 (the backend that writes checkpoints)
from mobileode_mm.errors import InputError
from mobileode_mm.runs.changes import ResumeChanges, check_changes, read_settings


class Rates(Hook):
    """Learning rate of each iteration."""

    priority = 'VERY_HIGH'

    def __init__(self):
        self.rates = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates[runner.iter] = runner.optim_wrapper.optimizer.param_groups[0]['lr']


WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)
STEPS = [dict(type='MultiStepLR', milestones=[1, 3], by_epoch=True, gamma=0.5)]
COSINE = [WARM_UP, dict(type='CosineAnnealingLR', T_max=4, end=4, by_epoch=True, convert_to_iter_based=True)]


@pytest.fixture
def rates(toy, tmp_path):
    """Train the toy: ``rates(epochs=..., lr=..., schedule=..., resume=...)`` gives its rates and its log."""

    def train(epochs, lr=0.1, schedule=STEPS, resume=None, weight_decay=0., name='run', **changes):
        optimizer = dict(type='SGD', lr=lr, momentum=0.9, weight_decay=weight_decay)
        runner = Runner(**toy.toy_config(
            tmp_path / name, epochs=epochs, param_scheduler=[dict(one) for one in schedule],
            optim_wrapper=dict(optimizer=optimizer), resume=bool(resume), load_from=resume,
            val_dataloader=None, val_cfg=None, val_evaluator=None, **changes))
        hook = Rates()
        runner.register_hook(hook)
        if resume:
            runner.register_hook(ResumeChanges())
        runner.train()
        logs = (tmp_path / name).glob(f'{runner.timestamp}/*.log')
        return hook.rates, runner, ''.join(path.read_text() for path in logs)

    return train


@pytest.fixture
def checkpoint(rates, tmp_path):
    rates(2)
    return str(tmp_path / 'run/epoch_2.pth')


@pytest.mark.parametrize('changes, said', [
    (dict(lr=0.01), 'learning rate 0.1 -> 0.01'), (dict(schedule=COSINE), 'schedule as in the config'),
    (dict(lr=0.02, schedule=COSINE, weight_decay=0.1), 'weight_decay 0.0 -> 0.1'), (dict(schedule=[]), 'schedule'),
    (dict(), 'schedule as in the config')])  # more epochs: MMEngine ends a schedule with the run
def test_the_config_wins(changes, said, rates, checkpoint):
    wanted, _, _ = rates(4, name='undisturbed', **changes)
    found, runner, log = rates(4, name='resumed', resume=checkpoint, **changes)
    assert sorted(found) == list(range(16, 32))
    assert found == {iteration: wanted[iteration] for iteration in found}
    assert "Resumed with the config's settings, not the checkpoint's: " in log and said in log
    group = runner.optim_wrapper.optimizer.param_groups[0]
    assert group['weight_decay'] == changes.get('weight_decay', 0)
    assert all('momentum_buffer' in state for state in runner.optim_wrapper.optimizer.state.values())


def test_a_resumed_run_of_one_config_is_left_alone(rates, tmp_path):
    wanted, _, _ = rates(4, name='undisturbed')
    found, _, log = rates(4, name='resumed', resume=str(tmp_path / 'undisturbed/epoch_2.pth'))
    assert found == {iteration: wanted[iteration] for iteration in range(16, 32)}
    assert "Resumed with the config's" not in log


def test_another_batch_size(toy, rates, checkpoint):
    """Four images a batch gave 8 iterations an epoch; eight give 4."""
    loader = dict(toy.toy_loader(), batch_size=8)
    wanted, _, _ = rates(4, name='undisturbed', schedule=COSINE, train_dataloader=loader)
    found, _, log = rates(4, name='resumed', resume=checkpoint, schedule=COSINE, train_dataloader=loader)
    assert found == {iteration: wanted[iteration] for iteration in range(8, 16)}
    assert 'epoch 2 ended at iteration 8, not 16' in log


def test_parameters_in_other_groups(toy, rates, checkpoint):
    with pytest.raises(InputError, match='groups the parameters in another way'):
        runner = Runner(**toy.toy_config(checkpoint + '_other', optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1), paramwise_cfg=dict(bias_lr_mult=2.)),
            resume=True, load_from=checkpoint))
        runner.register_hook(ResumeChanges())
        runner.train()


EARLIER = '''
optim_wrapper = dict(optimizer=dict(lr=0.1, type='AdamW'), type='OptimWrapper')
train_cfg = dict(max_epochs=2, type='EpochBasedTrainLoop')
train_dataloader = dict(batch_size=4)
param_scheduler = [dict(type='MultiStepLR', milestones=[1, ])]
value = open('/tmp/never', 'w')
'''


def compare(**options):
    cfg = Config.fromstring(EARLIER.replace("value = open('/tmp/never', 'w')", ''), '.py')
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return check_changes(cfg, dict(meta=dict(cfg=EARLIER)), 'epoch_2.pth')


def test_what_cannot_be_taken_over():
    assert compare() == []
    for options, word in ((dict(optim_wrapper__optimizer__type='SGD'), 'the optimizer AdamW, the config has SGD'),
                          (dict(train_cfg__type='IterBasedTrainLoop'), 'counts epochs, the config counts iterations')):
        with pytest.raises(InputError) as error:
            compare(**options)
        assert word in str(error.value) and 'load_from=epoch_2.pth' in str(error.value)


def test_what_is_taken_over_is_said():
    line, = compare(train_cfg__max_epochs=4, train_dataloader__batch_size=8)
    assert 'the config wins: train_cfg.max_epochs 2 -> 4, train_dataloader.batch_size 4 -> 8' in line


def test_the_seed_of_the_checkpoint_wins_and_is_said():
    cfg = Config(dict(randomness=dict(seed=7)))
    said, = check_changes(cfg, dict(meta=dict(seed=0)), 'epoch_2.pth')
    assert said == 'The seed stays 0, that of epoch_2.pth: randomness.seed=7 of the config is not used'
    assert not check_changes(cfg, dict(meta=dict(seed=7)), 'epoch_2.pth')
    assert not check_changes(Config(), dict(meta=dict(seed=0)), 'epoch_2.pth')


def test_a_config_in_a_checkpoint_is_not_run():
    settings = read_settings(EARLIER)
    assert settings['param_scheduler'] == [dict(type='MultiStepLR', milestones=[1])]
    assert 'value' not in settings
    assert read_settings('no config at all (') == {}
