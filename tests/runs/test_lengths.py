"""Schedules, checkpoints and switches that do not fit the length of the training."""
import re

import pytest

from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import config_scope
from mobileode_mm.runs.lengths import length_warnings
from mobileode_mm.runs.runner import build_runner, ready_config

EPOCHS = "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=6)\n"  # of 4 iterations
ITERATIONS = ("train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=20, val_interval=10)\n"
              "train_dataloader = dict(sampler=dict(type='InfiniteSampler', shuffle=True))\n")
WARM_UP = "dict(type='LinearLR', start_factor=0.1, by_epoch=False, end={})"
COSINE = "dict(type='CosineAnnealingLR', T_max={0}, end={0}{1})"
CONVERTED = ', convert_to_iter_based=True'


def schedules(*texts):
    return f'param_scheduler = [{", ".join(texts)}]\n'


def warnings_of(text, place):
    (place / 'mine.py').write_text(f"_base_ = 'classification.py'\n{text}\n")
    cfg = ready_config('mine.py', 'train', None, None, 'none')
    with config_scope(cfg):
        return length_warnings(build_runner(cfg, ('train', 'val')))


@pytest.mark.parametrize('text, reported', [
    (EPOCHS + schedules(WARM_UP.format(8), COSINE.format(6, CONVERTED)), []),
    (EPOCHS + schedules(WARM_UP.format(8), "dict(type='MultiStepLR', milestones=[4, 5])"), []),
    (EPOCHS + schedules("dict(type='CosineAnnealingLR', T_max=4, end=4)", "dict(type='ConstantLR', begin=4)"), []),
    (EPOCHS + schedules(WARM_UP.format(500)), ['LinearLR goes on to iteration 500, and the training ends at 24']),
    (EPOCHS + schedules(COSINE.format(12, CONVERTED)), ['CosineAnnealingLR goes on to iteration 48, .* ends at 24']),
    (EPOCHS + schedules(COSINE.format(12, '')), ['CosineAnnealingLR goes on to epoch 12, and the training ends at 6']),
    (EPOCHS + schedules(COSINE.format(3, '')), ['the schedules end at epoch 3, before the training']),
    (EPOCHS + schedules("dict(type='CosineAnnealingLR', T_max=4)"),
     ['CosineAnnealingLR has a T_max of 4 epochs, and 6 to go: it rises again; set T_max to 6']),
    (EPOCHS + schedules("dict(type='CosineAnnealingLR', T_max=20, convert_to_iter_based=True)"),
     ['CosineAnnealingLR has a T_max of 80 iterations, and 24 to go: it stops on its way; set T_max to 24']),
    (EPOCHS + schedules("dict(type='OneCycleLR', eta_max=0.1, total_steps=24, by_epoch=False)"), []),
    (EPOCHS + schedules("dict(type='MultiStepLR', milestones=[8, 11])"),
     ['MultiStepLR has its first milestone at epoch 8, and the training ends at 6']),
    (EPOCHS + schedules("dict(type='PolyLR', begin=6, end=9)"),
     ['PolyLR begins at epoch 6, and the training ends at 6']),
    (EPOCHS + schedules() + "default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=9, save_last=False))",
     ['CheckpointHook has an interval of 9 epochs, of 6: no checkpoint is written']),
    (EPOCHS + schedules()
     + "custom_hooks = [dict(type='mmdet.PipelineSwitchHook', switch_epoch=280, switch_pipeline=[])]",
     ['PipelineSwitchHook switches at epoch 280, which this training does not reach']),
    (EPOCHS + schedules() + "custom_hooks = [dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs=15)]",
     ['YOLOXModeSwitchHook switches 15 epochs before the end, and the training has 6']),
    (EPOCHS + schedules() + "custom_hooks = [dict(type='EMAHook', momentum=0.01, begin_epoch=1)]",
     ['EMAHook averages with a momentum of 0.01: .* to 82% still those of iteration 4 at']),
    (EPOCHS + schedules() + "custom_hooks = [dict(type='EMAHook', momentum=0.1)]", []),
    (EPOCHS + schedules() + "custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002)]", []),
    (EPOCHS.replace('=6', '=6, val_begin=9') + schedules(),
     ['train_cfg.val_begin is epoch 9, and the training ends at 6']),
    (ITERATIONS + schedules(WARM_UP.format(8), COSINE.format(6, ''))
     + "default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))",
     ['CosineAnnealingLR counts epochs, and this training counts iterations',
      'CheckpointHook counts epochs, and this training counts iterations']),
    (ITERATIONS + schedules(COSINE.format(20, ', by_epoch=False'))
     + "default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=10, by_epoch=False))", [])])
def test_settings_that_do_not_fit_the_length(text, reported, place):
    found = warnings_of(text, place)
    assert len(found) == len(reported), found
    for pattern, warning in zip(reported, found):
        assert re.match(pattern, warning), warning


def test_one_cycle_that_is_too_short(place):
    text = EPOCHS + schedules("dict(type='OneCycleLR', eta_max=0.1, total_steps=20, by_epoch=False)")
    with pytest.raises(InputError, match='a total_steps of 20 iterations, and the training has 24'):
        warnings_of(text, place)
