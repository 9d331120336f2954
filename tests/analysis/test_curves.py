import json

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mobileode_mm.analysis.curves import plot_curves
from mobileode_mm.analysis.scalars import headline_metric, read_scalars
from mobileode_mm.errors import InputError


def _train(steps, per_epoch=None, loss=1.):
    epoch = {step: {'epoch': (step - 1) // per_epoch + 1} if per_epoch else {} for step in steps}
    return [dict(lr=1e-3, base_lr=1e-3, loss=loss, loss_cls=loss / 2, data_time=.1, time=.2, iter=step,
                 step=step, **epoch[step]) for step in steps]


def _val(step, value):
    return {'coco/bbox_mAP': value, 'coco/bbox_mAP_50': 2 * value, 'coco/bbox_mAP_s': -1., 'data_time': .1,
            'time': .2, 'step': step}


def _write(work_dir, started, records, tail=''):
    path = work_dir / started / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records) + tail)
    return path


def _by_epoch(work_dir):
    """Killed in the third epoch of 20 iterations, resumed from the second."""
    _write(work_dir, '20260102_030405', [
        *_train([10, 20], 20), _val(1, .1), *_train([30, 40], 20), _val(2, .2), *_train([50], 20, loss=77.)],
        tail='{"lr": 0.001, "los')
    _write(work_dir, '20260102_040506', [
        *_train([50, 60], 20, loss=.5), _val(3, .3), *_train([70, 80], 20, loss=.4), _val(4, .25)])


def test_a_resumed_run_replaces_what_was_logged_after_its_start(tmp_path):
    _by_epoch(tmp_path)
    scalars = read_scalars(tmp_path)
    assert [(record['step'], record['loss']) for record in scalars.train] == [
        (10, 1.), (20, 1.), (30, 1.), (40, 1.), (50, .5), (60, .5), (70, .4), (80, .4)]
    assert [(record['step'], record['coco/bbox_mAP']) for record in scalars.val] == [
        (1, .1), (2, .2), (3, .3), (4, .25)]
    assert scalars.val_unit == 'epoch'


def test_a_new_run_in_an_old_folder_replaces_all(tmp_path):
    _write(tmp_path, '20260102_030405', [
        *_train([10, 20, 30], 20), _val(1, .1), *_train([40], 20), _val(2, .2)])
    _write(tmp_path, '20260103_030405', [*_train([10, 20], 20, loss=9.), _val(1, .9)])
    scalars = read_scalars(tmp_path)
    assert [(record['step'], record['loss']) for record in scalars.train] == [(10, 9.), (20, 9.)]
    assert [record['coco/bbox_mAP'] for record in scalars.val] == [.9]


def test_an_evaluation_alone_is_no_part_of_the_curve(tmp_path):
    _by_epoch(tmp_path)
    before = read_scalars(tmp_path)
    _write(tmp_path, '20260105_000000', [_val(0, .77)])
    assert read_scalars(tmp_path) == before


@pytest.mark.parametrize('logged_step', [True, False])
def test_iteration_based_runs(tmp_path, logged_step):
    # With LoggerHook's log_metric_by_epoch left at True, every evaluation says step 0.
    _write(tmp_path, '20260102_030405', [
        *_train([10, 20]), _val(20 * logged_step, .1), *_train([30, 40]), _val(40 * logged_step, .2)])
    scalars = read_scalars(tmp_path)
    assert [record['step'] for record in scalars.val] == [20, 40]
    assert scalars.val_unit == 'iteration'


def test_names_with_hierarchy(tmp_path):
    _write(tmp_path, '20260102_030405', [
        {'train/loss': 1., 'train/lr': .1, 'iter': 5, 'epoch': 1, 'step': 5},
        {'val/pascal_voc/mAP': .5, 'step': 1}])
    scalars = read_scalars(tmp_path)
    assert scalars.train == [dict(loss=1., lr=.1, iter=5, epoch=1, step=5)]
    assert scalars.val == [{'pascal_voc/mAP': .5, 'step': 1}]


def test_headline_metric():
    assert headline_metric({'coco/bbox_mAP_50': 1., 'coco/bbox_mAP': .5}) == 'coco/bbox_mAP'
    assert headline_metric({'aAcc': 90., 'mIoU': 50., 'mAcc': 60.}) == 'mIoU'
    assert headline_metric({'accuracy/top5': 90., 'accuracy/top1': 50.}) == 'accuracy/top1'
    assert headline_metric({'time': 1., 'confusion': [[1]], 'f1-score': 3.}) == 'f1-score'
    assert headline_metric({'time': 1.}) is None
    assert headline_metric({}) is None


def test_curves_are_drawn(tmp_path):
    _by_epoch(tmp_path)
    settings = dict(dict.items(matplotlib.rcParams))  # an ordinary look at the backend would choose one
    path = plot_curves(tmp_path)
    assert dict(dict.items(matplotlib.rcParams)) == settings
    assert path == tmp_path / 'curves.png'
    image = np.asarray(Image.open(path).convert('RGB')).astype(int)
    assert image.shape == (480, 1600, 3)
    # Colour, which only curves and their legends have, stands in each of the three panels.
    colour = image.max(2) - image.min(2) > 60
    for panel in np.array_split(colour, 3, axis=1):
        assert panel.sum() > 200

    # The discarded loss of 77 is not in the image: the axis would be far longer and the curve flat.
    other = tmp_path / 'sub' / 'other.png'
    other.parent.mkdir()
    _write(tmp_path / 'unbroken', '20260102_030405', [
        *_train([10, 20], 20), _val(1, .1), *_train([30, 40], 20), _val(2, .2),
        *_train([50, 60], 20, loss=.5), _val(3, .3), *_train([70, 80], 20, loss=.4), _val(4, .25)])
    assert plot_curves(str(tmp_path / 'unbroken'), str(other)) == other
    assert other.read_bytes() == path.read_bytes()


def test_the_metric_that_coco_cannot_give_is_not_drawn(tmp_path):
    records = [*_train([10], 10), _val(1, .1), *_train([20], 10), _val(2, .2)]
    _write(tmp_path / 'with', '20260102_030405', records)
    _write(tmp_path / 'without', '20260102_030405', [
        {name: value for name, value in record.items() if not name.endswith('_s')} for record in records])
    assert plot_curves(tmp_path / 'with').read_bytes() == plot_curves(tmp_path / 'without').read_bytes()


def test_a_run_without_evaluation_is_drawn(tmp_path):
    _write(tmp_path, '20260102_030405', [*_train([10, 20], 20), *_train([30], 20, loss=float('nan'))])
    assert Image.open(plot_curves(tmp_path)).size == (1600, 480)


def test_nothing_logged_is_reported(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        plot_curves(tmp_path)
    with pytest.raises(InputError, match='nowhere'):
        plot_curves(tmp_path / 'nowhere')
    _write(tmp_path, '20260102_030405', [_val(0, .1)])
    with pytest.raises(InputError, match='No logged training'):
        plot_curves(tmp_path)
    assert not (tmp_path / 'curves.png').exists()


def test_a_damaged_file_is_named(tmp_path):
    path = _write(tmp_path, '20260102_030405', _train([10, 20], 20))
    path.write_text('{"broken\n' + path.read_text())
    with pytest.raises(InputError, match=r'scalars\.json, line 1 is no JSON'):
        plot_curves(tmp_path)
