"""Metrics that hooks and schedules wait for are among those that validation gives."""
import importlib

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import config_scope
from mobileode_mm.runs.monitors import check_monitors, monitor_fault, unused_monitors

TASKS = {'detection': 'mmdet', 'segmentation': 'mmseg', 'classification': 'mmpretrain'}


@pytest.fixture
def check(shared_place):
    """Check a task's config after an update."""

    def check_config(task, **update):
        importlib.import_module(f'{TASKS[task]}.models')
        cfg = Config.fromfile(shared_place / f'{task}.py')
        cfg.merge_from_dict({key: value for key, value in update.items() if '.' in key})
        cfg.update({key: value for key, value in update.items() if '.' not in key})
        with config_scope(cfg):
            check_monitors(cfg)

    return check_config


def best(name):
    return {'default_hooks.checkpoint.save_best': name}


def plateau(**settings):
    return dict(param_scheduler=[dict(type='ReduceOnPlateauLR', **settings)])


@pytest.mark.parametrize('task, update, reported', [
    ('detection', best('bbox_mAP'), "default_hooks.checkpoint.save_best is 'bbox_mAP', and val_evaluator gives no such "
     'metric; nearest: coco/bbox_mAP. It gives coco/bbox_mAP, coco/bbox_mAP_50, '),
    ('detection', best(['coco/bbox_mAP', 'coco/segm_mAP']), "'coco/segm_mAP'"),
    ('detection', dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='mAP')]),
     "custom_hooks.0.monitor is 'mAP'"),
    ('segmentation', best('mDice'), 'It gives aAcc, mIoU, mAcc'),
    ('classification', plateau(monitor='accuracy/top5'), "param_scheduler.0.monitor is 'accuracy/top5'"),
    ('classification', plateau(), "param_scheduler.0.monitor is 'loss'"),
    ('classification', dict(param_scheduler=dict(type='ReduceOnPlateauLR', monitor='top1')),
     "param_scheduler.monitor is 'top1', and val_evaluator gives no such metric; nearest: accuracy/top1"),
])
def test_a_metric_that_validation_does_not_give(task, update, reported, check):
    with pytest.raises(InputError) as error:
        check(task, **update)
    assert reported in str(error.value)


@pytest.mark.parametrize('task, update', [
    ('detection', best('auto')), ('detection', best('coco/bbox_mAP_50')),
    ('detection', {**best('coco/red_precision'), 'val_evaluator.classwise': True}),
    ('detection', {**best('coco/AR@10'), 'val_evaluator.metric': ['bbox', 'proposal_fast'],
                   'val_evaluator.proposal_nums': (10, )}),
    ('detection', {**best('mine/bbox_mAP'), 'val_evaluator.prefix': 'mine'}),
    ('detection', dict(best('pascal_voc/AP50'), val_evaluator=dict(type='VOCMetric'))),
    ('segmentation', {**best('mFscore'), 'val_evaluator.iou_metrics': ['mIoU', 'mFscore']}),
    ('classification', plateau(monitor='accuracy/top3') | {'val_evaluator.topk': (1, 3)}),
    ('classification', dict(best('single-label/f1-score_micro'), val_evaluator=[
        dict(type='Accuracy'), dict(type='SingleLabelMetric', average='micro')])),
    ('classification', dict(best('anything'), val_evaluator=[dict(type='Accuracy'), dict(type='Mine')])),
    ('classification', dict(best('anything'), val_evaluator=None, val_dataloader=None, val_cfg=None)),
])
def test_metrics_that_validation_gives_or_that_cannot_be_judged(task, update, check):
    check(task, **update)


@pytest.mark.parametrize('update, keys', [
    ({}, []), (dict(val_cfg=None), []), (best('auto'), []),
    (best('auto') | dict(val_cfg=None), ['default_hooks.checkpoint.save_best']),
    (plateau() | dict(val_cfg=None), ['param_scheduler.0.monitor'])])
def test_metrics_without_validation(update, keys, shared_place):
    cfg = Config.fromfile(shared_place / 'classification.py')
    cfg.merge_from_dict(update)
    assert unused_monitors(cfg) == keys


def test_what_shows_in_validation_alone():
    hook = CheckpointHook(save_best='mine', rule='greater')
    with pytest.raises(KeyError) as error:
        hook.after_val_epoch(type('Runner', (), {'epoch': 1, 'iter': 1}), {'theirs': 1.})
    assert monitor_fault(error.value) == (
        "CheckpointHook wants a metric that the validation does not give: mine. It gives theirs")
    assert monitor_fault(KeyError('mine')) is None
