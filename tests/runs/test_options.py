"""--cfg-options: keys that mean nothing are refused, copies of a variable follow it."""
import argparse
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from mobileode_mm.commands.options import add_config_options
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import check_run, check_settings, config_scope
from mobileode_mm.runs.config import load_config
from mobileode_mm.runs.options import check_keys, unread_variables
from mobileode_mm.runs.runner import ready_config

VARIABLES = '''
batch_size = 4
max_epochs = 3
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64), keep_ratio=False)]
names = dict(classes=('red', 'green'))
unused = dict(a=1)
_base_ = 'detection.py'
train_dataloader = dict(batch_size=batch_size, dataset=dict(dataset=dict(metainfo=names, pipeline=pipeline)))
val_dataloader = dict(batch_size=batch_size, dataset=dict(
    metainfo=names, pipeline=[*pipeline, dict(type='PackDetInputs')]))
train_cfg = dict(max_epochs=max_epochs)
'''

# Reads further arguments itself.
MY_HOOK = '''
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class MyCheckpoints(CheckpointHook):

    def __init__(self, **settings):
        self.mine = settings.pop('anything')
        super().__init__(**settings)
'''


@pytest.fixture
def config(place):
    (place / 'mine.py').write_text(VARIABLES)
    return lambda **options: load_config('mine.py', {key.replace('__', '.'): value for key, value in options.items()})


@pytest.mark.parametrize('key, nearest', [
    ('optim_wraper.optimizer.lr', 'optim_wrapper'), ('trian_cfg.max_epochs', 'train_cfg'),
    ('train_cfg.max_epoch', 'train_cfg.max_epochs'),
    ('optim_wrapper.optimizer.momentun', 'optim_wrapper.optimizer.momentum'),
    ('optim_wrapper.optimiser.lr', 'optim_wrapper.optimizer'),
    ('model.backbone.frozen_stage', 'model.backbone.frozen_stages'),
    ('model.bbox_head.num_clases', 'model.bbox_head.num_classes'),
    ('train_dataloader.drop_lats', 'train_dataloader.drop_last'),
    ('model.test_cfg.score_th', 'model.test_cfg.score_thr'), ('val_evaluator.clas_wise', 'val_evaluator.classwise'),
    ('default_hooks.checkpoint.intervall', 'default_hooks.checkpoint.interval'),
    ('optim_wrapper.paramwise_cfg.norm_decay_multi', 'optim_wrapper.paramwise_cfg.norm_decay_mult'),
    ('optim_wrapper.clip_grad.maxnorm', 'optim_wrapper.clip_grad.max_norm'),
    ('param_scheduler.0.milestone', 'param_scheduler.0.milestones'), ('randomness.sed', 'randomness.seed'),
    ('lr', 'optim_wrapper.optimizer.lr'), ('loadfrom', 'load_from')])
def test_a_key_that_nothing_reads(key, nearest, config):
    with pytest.raises(InputError) as error:
        config(**{key: 1})
    assert f'--cfg-options {key}: there is no ' in str(error.value) and f' {nearest}' in str(error.value)
    assert f'--cfg-new {key}=' in str(error.value)
    cfg = config(**{f'+{key}': 1})  # which adds it
    node = cfg
    for part in key.split('.'):
        node = node[int(part) if part.isdecimal() else part]
    assert node == 1


@pytest.mark.parametrize('options', [
    {'train_dataloader.drop_last': True}, {'train_dataloader.pin_memory': True}, {'load_from': 'a.pth'},
    {'model.backbone.init_cfg.type': 'Pretrained'}, {'model.backbone.frozen_stages': 1}, {'compile.backend': 'eager'},
    {'train_dataloader.dataset.dataset.indices': 5}, {'optim_wrapper.clip_grad.max_norm': 3}, {'custom_hooks': []},
    {'optim_wrapper.optimizer.type': 'AdamW', 'optim_wrapper.optimizer.betas': [.9, .99]},
    {'val_evaluator.classwise': True}, {'default_hooks.checkpoint.save_last': False},
    {'randomness.deterministic': True}, {'optim_wrapper.paramwise_cfg.norm_decay_mult': 0},
    {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.1},
    {'optim_wrapper.constructor': 'LearningRateDecayOptimizerConstructor', 'optim_wrapper.paramwise_cfg.num_layers': 2},
    {'custom_hooks.0.ema_type': 'ExpMomentumEMA', 'custom_hooks.0.gamma': 100},
    {'model.bbox_head.loss_cls.type': 'FocalLoss'}])
def test_keys_that_the_config_lacks_and_something_reads(options, place):
    (place / 'mine.py').write_text(f"{VARIABLES}custom_hooks = [dict(type='EMAHook')]\n")
    assert load_config('mine.py', options)


@pytest.mark.parametrize('text, reported', [
    ("default_hooks = dict(checkpoint=dict(intervall=1))",
     'default_hooks.checkpoint of mine.py has a key intervall, which means nothing there; nearest: interval'),
    ("custom_hooks = [dict(type='EMAHook', momentm=0.1)]",
     'custom_hooks.0 of mine.py has a key momentm, which means nothing there; nearest: momentum'),
    ("custom_hooks = [dict(type='EMAHook', ema_type='StochasticWeightAverage', momentum=0.1)]", 'has a key momentum'),
    ("optim_wrapper = dict(clip_grad=dict(maxnorm=5))", 'nearest: max_norm'),
    ("optim_wrapper = dict(paramwise_cfg=dict(norm_decay_multi=0))", 'nearest: norm_decay_mult'),
    ("optim_wrapper = dict(clip_grad=dict(max_norm=5), paramwise_cfg=dict(custom_keys=dict(a=dict(lr_mult=1))))", None),
    ("custom_hooks = [dict(type='EMAHook', momentum=0.1, update_buffers=True, priority=49)]", None),
    ("custom_hooks = [dict(type='EMAHook', ema_type='ExpMomentumEMA', gamma=10, begin_epoch=1)]", None),
    ("optim_wrapper = dict(constructor='LearningRateDecayOptimizerConstructor', paramwise_cfg=dict(num_layers=2))",
     None),
    ("custom_imports = dict(imports=['hooks'])\ncustom_hooks = [dict(type='MyCheckpoints', anything=1)]", None)])
def test_keys_of_a_file_that_are_missed_or_refused_late(text, reported, place, monkeypatch):
    (place / 'hooks.py').write_text(MY_HOOK)
    monkeypatch.syspath_prepend(place)
    (place / 'mine.py').write_text(f"_base_ = 'detection.py'\n{text}\n")
    cfg = load_config('mine.py')
    with config_scope(cfg):
        if reported is None:
            check_keys(cfg)
        else:
            with pytest.raises(InputError, match=re.escape(reported)):
                check_keys(cfg)


def test_keys_of_a_file_that_names_classes(place):
    (place / 'lazy.py').write_text(
        'from mmengine.config import read_base\nfrom mmengine.hooks import CheckpointHook, EMAHook\n'
        'with read_base():\n    from mmodeconf.schedules.mini import *\n'
        'default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=1))\n'
        'custom_hooks = [dict(type=EMAHook, momentm=0.1)]\n')
    with pytest.raises(InputError, match='custom_hooks.0 of lazy.py has a key momentm'):
        check_keys(load_config('lazy.py', {'default_hooks.checkpoint.save_last': False}))


def test_custom_keys_of_no_parameter(place):
    (place / 'mine.py').write_text("_base_ = 'detection.py'\noptim_wrapper = dict(paramwise_cfg=dict(custom_keys={\n"
                                   "    'backbone': dict(lr_mult=0.1), 'backbon.': dict(lr_mult=0.1)}))\n")
    checked = check_run(ready_config('mine.py', 'train', None, None, 'none'), ('train', ), None, 'finetune')
    assert any('custom_keys: no parameter has backbon. in its name' in warning for warning in checked.warnings)


@pytest.mark.parametrize('settings, reported', [
    ('optimizer=dict(lr=0.)', ['optim_wrapper.optimizer.lr is 0: no weight changes']),
    ('clip_grad=dict(max_norm=0)', ['optim_wrapper.clip_grad.max_norm is 0: it takes all of every gradient']),
    ('clip_grad=dict(max_norm=35)', [])])
def test_numbers_of_an_optimizer_that_stop_it(settings, reported, place):
    (place / 'mine.py').write_text(f"_base_ = 'detection.py'\noptim_wrapper = dict({settings})\n")
    checked = check_run(ready_config('mine.py', 'train', None, None, 'none'), ('train', ), None, 'finetune')
    found = [warning for warning in checked.warnings if 'optim_wrapper' in warning]
    assert len(found) == len(reported) and all(map(str.startswith, found, reported)), found


def test_the_best_checkpoint_without_validation(place):
    (place / 'mine.py').write_text("_base_ = 'detection.py'\ndefault_hooks = dict(checkpoint=dict(save_best='auto'))\n"
                                   'val_dataloader = val_cfg = val_evaluator = None\n')
    checked = check_run(ready_config('mine.py', 'train', None, None, 'none'), ('train', ), None, 'finetune')
    assert checked.warnings[0] == (
        'default_hooks.checkpoint.save_best: there is no validation (val_cfg is None), and nothing follows')


def test_copies_follow_their_variable(config):
    cfg = config(names__classes=['a', 'b'])
    assert list(cfg.train_dataloader.dataset.dataset.metainfo.classes) == ['a', 'b']
    assert list(cfg.val_dataloader.dataset.metainfo.classes) == ['a', 'b']
    cfg = config(pipeline__1__scale=(96, 96))
    assert cfg.train_dataloader.dataset.dataset.pipeline[1].scale == (96, 96)
    cfg = config(pipeline__1__scale=(96, 96), train_dataloader__dataset__dataset__pipeline__1__scale=(80, 80))
    assert cfg.train_dataloader.dataset.dataset.pipeline[1].scale == (80, 80)  # the longer path says more


@pytest.mark.parametrize('key, paths', [
    ('batch_size', 'train_dataloader.batch_size=..., val_dataloader.batch_size=...'),
    ('max_epochs', 'train_cfg.max_epochs=...')])
def test_copies_that_cannot_be_told_from_other_values(key, paths, config):
    with pytest.raises(InputError) as error:
        config(**{key: 8})
    assert f'{key} is a variable of mine.py' in str(error.value) and paths in str(error.value)


def test_a_variable_without_copies(config):
    with pytest.raises(InputError, match='nothing in the config is a copy of it'):
        config(unused__a=2)
    assert config(**{'+unused.a': 2}).unused.a == 2


@pytest.fixture
def parsed():
    """Options as the command line has them."""
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return lambda *words: parser.parse_args(words).cfg_options


def test_new_keys_of_the_command_line(parsed):
    assert parsed('--cfg-options', 'a.b=1', '--cfg-new', 'c.d=[1,2]', 'e=x') == {'a.b': 1, '+c.d': [1, 2], '+e': 'x'}


@pytest.mark.parametrize('text, value', [
    ("[dict(type='LinearLR', end=5), dict(end=2)]", [dict(type='LinearLR', end=5), dict(end=2)]),
    ("{'a': {'b': (1, None)}, 'c': [dict(d=True)]}", dict(a=dict(b=(1, None)), c=[dict(d=True)])),
    ('dict()', {}), ('/data/my images', '/data/my images'), ('"two words"', 'two words'), ('a=b', 'a=b'),
    ('[a, b]', ['a', 'b']), ('1e-3', 1e-3), ('None', None), ('True', True)])
def test_values_of_the_command_line(text, value, parsed):
    assert parsed('--cfg-options', 'x=1', f'key={text}', 'y=2') == dict(x=1, key=value, y=2)


@pytest.mark.parametrize('text', ['dict(type=Linear)', '[(1,2]', "{'a': 1", 'dict(a=open("f"))', "dict('a')", '{a}'])
def test_values_that_cannot_be_read(text, parsed, capsys):
    with pytest.raises(SystemExit) as end:
        parsed('--cfg-options', f'key={text}')
    assert end.value.code == 2
    assert f'the value of {f"key={text}"!r} cannot be read: lists are written' in capsys.readouterr().err


def toolbox_configs(box):
    """The configs that a toolbox ships, without those that are parts of others."""
    place = Path(find_spec(box).origin).parent / '.mim/configs'
    return [path for path in sorted(place.glob('*/*.py')) if not path.parts[-2].startswith('_')]


@pytest.mark.parametrize('box, names', [
    ('mmpretrain', ('twins-pcpvt-base_8xb128_in1k', 'resnet50_8xb256-rsb-a1-600e_in1k', 'resnet18_8xb32_in1k')),
    ('mmdet', ('faster-rcnn_r50_fpn_1x_coco', 'rtmdet_tiny_8xb32-300e_coco',
               'ssdlite_mobilenetv2-scratch_8xb24-600e_coco')),
    ('mmseg', ('san-vit-b16_coco-stuff164k-640x640', 'fcn_hr18_4xb2-40k_cityscapes-512x1024')),
    *(pytest.param(box, None, marks=pytest.mark.slow) for box in ('mmpretrain', 'mmdet', 'mmseg'))])
def test_what_the_toolboxes_ship_is_taken(box, names):
    paths = [path for path in toolbox_configs(box) if names is None or path.stem in names]
    assert len(paths) == len(names or paths) > 1
    refused = {}
    for path in paths:
        try:
            cfg = Config.fromfile(path)
        except Exception:  # of files that are absent, of other libraries
            assert names is None
            continue
        if cfg.get('train_cfg') and cfg.get('optim_wrapper'):
            try:
                with config_scope(cfg):
                    check_settings(cfg)
            except InputError as error:
                refused[path.name] = str(error)
    assert refused == {}


@pytest.mark.parametrize('text, reported', [
    ("optimizer = dict(type='SGD', lr=0.3)", 'optimizer of mine.py changes nothing: its place is optim_wrapper.'),
    ('data = dict(samples_per_gpu=4)', 'data of mine.py changes nothing: its place is train_dataloader, '),
    ("train_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(48, 48))]",
     'train_pipeline of mine.py changes nothing: no section has a copy of this variable'),
    ('trian_cfg = dict(max_epochs=3)', 'trian_cfg of mine.py changes nothing; nearest: train_cfg'),
    ("optimizer = dict(type='SGD', lr=0.3)\noptim_wrapper = dict(optimizer=dict(_delete_=True, **optimizer))", None),
    ("load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(48, 48))]\n"
     "val_dataloader = dict(dataset=dict(pipeline=[*load, dict(type='PackDetInputs')]))", None),
    ('classes = 3\nmy_settings = dict(a=1)', None)])
def test_variables_of_a_file_that_nothing_reads(text, reported, place):
    (place / 'mine.py').write_text(f"_base_ = 'detection.py'\n{text}\n")
    found = unread_variables('mine.py')
    assert len(found) == (reported is not None)
    assert reported is None or found[0].startswith(reported)


def test_a_training_tells_of_them_whatever_its_options_are(place):
    (place / 'mine.py').write_text(f'{VARIABLES}test_pipeline = [dict(type="LoadImageFromFile"), dict(type="Pad")]\n')
    options = {'train_dataloader.dataset.dataset.pipeline.1.scale': (96, 96)}
    cfg = ready_config('mine.py', 'train', None, options, 'none')
    with config_scope(cfg):
        assert unread_variables(cfg.filename) == [
            'test_pipeline of mine.py changes nothing: no section has a copy of this variable']
    (place / 'mine.py').write_text("_base_ = 'detection.py'\nlr_config = dict(policy='step', step=[8, 11])\n")
    checked = check_run(ready_config('mine.py', 'train', None, None, 'none'), ('train', ), None, 'finetune')
    assert 'lr_config of mine.py changes nothing: its place is param_scheduler now' in checked.warnings
