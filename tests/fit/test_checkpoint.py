"""Which epoch a fit ends with, by what its training left."""
import json

import numpy as np
import pytest

from mobileode_mm.data.formats import Image
from mobileode_mm.fit.checkpoint import choose_checkpoint
from mobileode_mm.fit.plan import METRICS, Plan


@pytest.fixture
def chosen(tmp_path):
    """Name of the checkpoint, and the reason, of a task's validations by epoch, over this number of boxes or images."""

    def choose(task, values, counted, kept=()):
        log = tmp_path / '20260101_000000/vis_data'
        log.mkdir(parents=True)
        lines = [dict(loss=1., epoch=max(values), iter=9, step=9),
                 *({METRICS[task]: value, 'step': epoch} for epoch, value in values.items())]
        (log / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
        for name in ('best', *kept):
            (tmp_path / ('best_epoch.pth' if name == 'best' else f'epoch_{name}.pth')).touch()
        boxes = np.zeros((counted if task == 'detection' else 1, 4))
        val = [Image(tmp_path / 'a.png', (9, 9), boxes=boxes)] * (1 if task == 'detection' else counted)
        plan = Plan(task, ('a', ), 'mobileode_v1', 320)
        return choose_checkpoint(plan, tmp_path, val).name, plan.choices[-1].reason

    return choose


def test_the_last_epoch_where_chance_made_another_one_higher(chosen):
    name, reason = chosen('detection', {5: 0.3, 10: 0.575, 15: 0.549}, 127, kept=[10, 15])
    assert name == 'epoch_15.pth'
    # sqrt(0.575 * 0.425 / 127)
    assert '0.575 after epoch 10' in reason and '127 boxes' in reason and '0.044' in reason


@pytest.mark.parametrize('task, values, counted, kept', [
    ('detection', {5: 0.3, 10: 0.575, 15: 0.549}, 12700, [10, 15]),  # so many boxes tell them apart
    ('detection', {5: 0.3, 10: 0.575, 15: 0.5}, 127, [10, 15]),
    ('detection', {5: 0.3, 10: 0.5, 15: 0.55}, 127, [10, 15]),  # the last is the highest
    ('detection', {5: 0.3, 10: 0.575, 15: 0.549}, 127, [5, 10]),  # the last was not kept
    ('segmentation', {5: 40., 10: 39.9}, 4, [5, 10]),  # no share of anything that can be counted
])
def test_the_highest_otherwise(task, values, counted, kept, chosen):
    name, reason = chosen(task, values, counted, kept)
    assert name == 'best_epoch.pth' and METRICS[task] in reason


def test_the_last_of_equal_ones(chosen):
    assert chosen('detection', {5: -1, 10: -1}, 1, kept=[5, 10])[0] == 'epoch_10.pth'  # as nothing could be measured


def test_of_classifiers_images_count(chosen):
    assert chosen('classification', {1: 80., 2: 79.}, 100, kept=[1, 2])[0] == 'epoch_2.pth'
