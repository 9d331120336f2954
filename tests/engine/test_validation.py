"""A validation that was cut off is repeated, one that came to its end is not."""
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mobileode_mm.analysis.scalars import read_scalars
from mobileode_mm.engine.validation import MARKER

HOOKS = [dict(type='UnfinishedValidationHook'), dict(type='ReseedHook'), dict(type='RunReportHook')]
BY_ITERATION = dict(
    train_cfg=dict(by_epoch=False, max_iters=24, val_interval=8), log_processor=dict(by_epoch=False),
    default_hooks=dict(logger=dict(type='LoggerHook', interval=2, log_metric_by_epoch=False),
                       checkpoint=dict(type='CheckpointHook', interval=8, by_epoch=False, save_best='accuracy/top1')))


class Stop(Hook):
    """Ends the run where it is told to, as a signal would."""

    priority = 'VERY_HIGH'

    def __init__(self, where, iteration):
        self.where, self.iteration = where, iteration

    def _reached(self, runner, where):
        if where == self.where and runner.iter == self.iteration:
            raise InterruptedError

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self._reached(runner, 'validation')

    def after_val(self, runner):
        self._reached(runner, 'after validation')

    def after_train(self, runner):
        self._reached(runner, 'report')


def run(toy, work_dir, hooks=(), resume=False, **changes):
    config = dict(toy.toy_config(work_dir, hooks=[*HOOKS, *hooks], checkpoint=dict(save_best='accuracy/top1'),
                                 resume=resume, optim_wrapper=dict(optimizer=dict(type='SGD', lr=3.))), **changes)
    if 'train_cfg' in changes:
        config['train_dataloader'] = dict(config['train_dataloader'], sampler=dict(type='InfiniteSampler'))
    # Folders of logs are named by the second.
    for number, folder in enumerate(sorted(work_dir.glob('*/vis_data'))):
        folder.parent.rename(work_dir / f'2000010{number}_000000')
    Runner(**config).train()


def log(work_dir):
    return max(work_dir.glob('*/*.log')).read_text()


@pytest.mark.parametrize('changes', [{}, BY_ITERATION], ids=['epochs', 'iterations'])
@pytest.mark.parametrize('where, iteration, repeated', [
    ('validation', 24, True), ('validation', 16, True), ('after validation', 16, False), ('report', 24, False)])
def test_resumed_run_has_the_metrics_of_an_undisturbed_one(where, iteration, repeated, changes, tmp_path, toy):
    run(toy, tmp_path / 'whole', **changes)
    with pytest.raises(InterruptedError):
        run(toy, tmp_path / 'cut', [Stop(where, iteration)], **changes)
    run(toy, tmp_path / 'cut', resume=True, **changes)
    assert ('was cut off: it is repeated' in log(tmp_path / 'cut')) == repeated
    assert (tmp_path / 'cut' / MARKER).read_text() == '24'

    whole, cut = (read_scalars(tmp_path / name) for name in ('whole', 'cut'))
    values = [[(record['step'], record['accuracy/top1']) for record in scalars.val] for scalars in (whole, cut)]
    assert values[0] == values[1] and len(values[0]) == 3
    assert changes or len({value for _, value in values[0]}) > 1
    final = [re.findall(r'accuracy/top1: .* at the end .*', log(tmp_path / name)) for name in ('whole', 'cut')]
    assert final[0] == final[1] and len(final[0]) == 1
    best = [{path.name: torch.load(path, weights_only=False)['state_dict'] for path in (tmp_path / name).glob('best_*')}
            for name in ('whole', 'cut')]
    assert best[0].keys() == best[1].keys() and len(best[0]) == 1
    for name, state in best[0].items():
        assert all(torch.equal(value, best[1][name][entry]) for entry, value in state.items())


def test_a_finished_run_validates_no_more(tmp_path, toy):
    run(toy, tmp_path)
    (tmp_path / MARKER).write_text('no number')
    run(toy, tmp_path, resume=True)
    assert 'was cut off: it is repeated' in log(tmp_path)
    run(toy, tmp_path, resume=True)
    assert 'Epoch(val)' not in log(tmp_path)
