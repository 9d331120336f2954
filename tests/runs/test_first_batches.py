"""What fails on a first batch is one message, before a training begins."""
import re

import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import TRANSFORMS

from mobileode_mm.apis import test as run_test
from mobileode_mm.apis import train
from mobileode_mm.errors import InputError
from mobileode_mm.runs.first_batches import FirstBatches

LOAD = "dict(type='LoadImageFromFile')"
META = "meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')"
SMALL = "dict(type='Resize', scale=(32, 32))"


def pipeline(split, *steps, wrapped=False):
    dataset = f"dict(pipeline=[{', '.join(steps)}])"
    dataset = f'dict(dataset={dataset})' if wrapped else dataset
    return f'{split}_dataloader = dict(dataset={dataset})'


@pytest.mark.parametrize('task, text, reported', [
    ('detection', pipeline('val', LOAD, SMALL, f"dict(type='PackDetInputs', {META})"),
     r"the validation fails in bbox_head \(\w+\): AssertionError: assert img_meta.get\('scale_factor'\) is not None"),
    ('detection', pipeline('val', LOAD, SMALL, "dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', "
                                               "'img_shape', 'scale_factor'))"),
     "the validation fails: KeyError: 'img_id'"),
    ('detection', pipeline('train', LOAD, SMALL, "dict(type='PackDetInputs')", wrapped=True),
     'the training fails in bbox_head.* LoadAnnotations with with_bbox=True is missing'),
    ('segmentation', pipeline('val', LOAD, "dict(type='PackSegInputs')"),
     "the validation fails: KeyError: 'gt_sem_seg'.* LoadAnnotations is missing"),
    ('segmentation', pipeline('val', LOAD, "dict(type='LoadAnnotations')", SMALL, "dict(type='PackSegInputs')"),
     'the validation fails: IndexError: The shape of the mask.* LoadAnnotations belongs behind Resize'),
    ('segmentation', 'model = dict(decode_head=dict(in_channels=48))',
     r'the validation fails in decode_head.convs.0.conv \(Conv2d\): .* What comes there has 32 channels'),
    ('segmentation', "val_evaluator = dict(iou_metrics=['mIOU'])",
     r"the validation fails: KeyError: .metrics \['mIOU'\] is not supported. \(.+iou_metric.py, line \d+\)"),
    ('classification', "val_evaluator = dict(topk='1')", r'the validation fails: TypeError: .+single_label.py'),
    ('classification', pipeline('val', LOAD), 'the validation fails in data_preprocessor'),
    ('classification', 'model = dict(head=dict(in_channels=48))\nval_dataloader = val_cfg = val_evaluator = None',
     r'the training fails in head.fc \(Linear\): .* What comes there has 64 channels')])
def test_a_first_batch_that_fails(task, text, reported, place):
    (place / 'mine.py').write_text(f"_base_ = '{task}.py'\n{text}\n")
    with pytest.raises(InputError) as caught:
        train('mine.py', work_dir='work')
    assert re.search(f'^the first batch of {reported}', str(caught.value)), caught.value
    file = re.search(r'The whole traceback: (.+)$', str(caught.value))[1]
    assert 'Traceback (most recent call last)' in open(file).read()
    assert not list((place / 'work').glob('*.pth'))


@pytest.mark.parametrize('step, reported', [
    ("dict(type='Resize', scale='7')", r'cv2.error: .+ Can.t parse .dsize.\..+ \(.+geometric.py, line \d+\)'),
    ("dict(type='Raises')", r'AssertionError: raise AssertionError \(.+test_first_batches.py, line \d+\)')])
def test_a_worker_that_fails(step, reported, place):
    (place / 'mine.py').write_text(
        "_base_ = 'classification.py'\nval_dataloader = val_cfg = val_evaluator = None\n"
        f"train_dataloader = dict(num_workers=1, dataset=dict(pipeline=[{LOAD}, {step}, dict(type='PackInputs')]))\n")
    with pytest.raises(InputError, match=f'^the first batch of the training fails: {reported}'):
        train('mine.py', work_dir='work')


def test_a_test_that_fails(trained, place):
    checkpoint = next(trained('segmentation')[0].glob('epoch_*.pth'))
    (place / 'mine.py').write_text("_base_ = 'segmentation.py'\n" + pipeline(
        'test', LOAD, "dict(type='LoadAnnotations')", SMALL, "dict(type='PackSegInputs')"))
    with pytest.raises(InputError, match='^the first batch of the test fails: IndexError.*belongs behind Resize'):
        run_test('mine.py', checkpoint, work_dir='work')


@pytest.mark.parametrize('text, reported', [
    ("custom_hooks = [dict(type='EMAHook', momentum=1.5)]",
     '^the start of the run fails: AssertionError: momentum must'),
    ("train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))",
     '^train_dataloader.sampler is an endless InfiniteSampler'),
    ("val_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=False))",
     '^val_dataloader.sampler is an endless InfiniteSampler, and what it is for would not end'),
    ("custom_imports = dict(imports=['mobileode_mm.engine.anytime'])\ncustom_hooks = [dict(type='AnytimeHook')]",
     '^AnytimeHook: no part of this')])
def test_a_start_that_fails(text, reported, place):
    (place / 'mine.py').write_text(f"_base_ = 'classification.py'\n{text}\n")
    with pytest.raises(InputError, match=reported):
        train('mine.py', work_dir='work')


@TRANSFORMS.register_module()
class Raises(BaseTransform):

    def transform(self, results):
        raise AssertionError


class Breaks(Hook):

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter:
            raise RuntimeError('in the second batch')


def test_later_errors_are_as_they_were(place, monkeypatch):
    from mmengine.registry import HOOKS
    HOOKS.register_module(name='Breaks', module=Breaks, force=True)
    (place / 'mine.py').write_text("_base_ = 'classification.py'\ncustom_hooks = [dict(type='Breaks')]\n")
    with pytest.raises(RuntimeError, match='^in the second batch$'):
        train('mine.py', work_dir='work')


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_a_training_is_as_without_it(task, place, monkeypatch):
    """Not a weight and not a metric differs, where random numbers are drawn and without their seeds for each batch."""
    found = []
    for folder in ('with', 'without'):
        if folder == 'without':
            monkeypatch.setattr(FirstBatches, 'before_train', lambda self, runner: None)
        runner = train(f'{task}.py', work_dir=folder, cfg_options={
            'train_cfg.max_epochs': 1, 'randomness.seed': 3, 'train_dataloader.num_workers': 0})
        assert runner.val_loop.evaluator.metrics[0].results == []
        values = {name: value for name, value in runner.message_hub.log_scalars.items() if '/' in name}
        found.append((runner.model.state_dict(), {name: value.current() for name, value in values.items()
                                                  if 'time' not in name}))
    (weights, metrics), (others, other_metrics) = found
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert metrics == other_metrics
