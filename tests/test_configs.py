"""Every config in configs/, and the base configs it is made of."""
import importlib
import inspect
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import MomentumAnnealingEMA
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmodeconf
from mobileode_mm.backbones import SolverConv
from mobileode_mm.data import MINI_CLASSES  # before mmdet, whose models need mmcv's operators
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import check_settings, config_scope, head_classes
from mobileode_mm.runs.config import load_config
from mobileode_mm.runs.consistency.heads import check_class_weights, check_preprocessor
from mobileode_mm.runs.consistency.sources import Documents, find_sources
from mobileode_mm.runs.options import unmatched_keys

from mmdet.registry import DATASETS, MODELS  # isort: skip
from mmdet.structures import DetDataSample  # isort: skip
from mmpretrain.models import MobileNetV3  # isort: skip

CONFIGS = Path(__file__).parents[1] / 'configs'
BASES = Path(mmodeconf.__file__).parent
PATHS = {path.stem: path for path in sorted(CONFIGS.rglob('*.py'))}
NAMES = sorted(PATHS)
FULL = [name for name in NAMES if not name.endswith('_mini')]
MINI = [name for name in NAMES if name.endswith('_mini')]
SSDLITE = [name for name in NAMES if name.startswith('ssdlite_')]
RTMDET = [name if 'mobilenetv4' not in name else pytest.param(name, marks=pytest.mark.skipif(
    find_spec('timm') is None, reason='timm is not installed')) for name in NAMES if name.startswith('rtmdet_')]
#: Those on COCO or mini scenes that have the same neck, head and recipe, whatever the backbone.
ALIKE = [name for name in SSDLITE if not re.search('_(full|busi|faces|trees)', name)]
#: Further data of the release, and COS in neck and head.
OTHERS = {f'{task}_{network}_{data}' for network in ('mobileode', 'mobileode_v2') for task, data in (
    ('ssdlite', 'busi'), ('ssdlite', 'faces'), ('deeplabv3', 'ade20k'), ('classify', 'imagenet_r'),
    ('classify', 'tiny_imagenet'))} | {
        'ssdlite_mobileode_full', 'classify_mobilevit_ode', 'classify_mobilevit_ode_imagenet_r'}
MODULES = sorted('.'.join(('mmodeconf', *path.relative_to(BASES).with_suffix('').parts))
                 for path in BASES.glob('*/*.py') if path.stem != '__init__')


@pytest.fixture(scope='module')
def configs():
    return {name: Config.fromfile(path) for name, path in PATHS.items()}


@pytest.fixture(scope='module')
def models(configs):
    """Builds each config's model once."""
    built = {}

    def get(name):
        if name not in built:
            init_default_scope(configs[name].default_scope)
            torch.manual_seed(0)
            built[name] = MODELS.build(configs[name].model)
        return built[name]

    return get


@pytest.mark.parametrize('name', [*(name for name in NAMES if not name.startswith('rtmdet_')), *RTMDET])
def test_settings_mean_something(name, models):
    cfg = load_config(PATHS[name])
    model = models(name)
    with config_scope(cfg):
        check_settings(cfg)
        assert unmatched_keys(cfg, (name for name, _ in model.named_parameters())) == []
    assert not [*check_class_weights(model), *check_preprocessor(model, head_classes(model))]


def without_backbone(cfg):
    cfg = cfg.to_dict()
    del cfg['model']['backbone']
    return cfg


def test_networks():
    assert set(FULL) >= {f'ssdlite_{network}' for network in (
        'mobileode', 'mobileode_v2', 'mobilenetv1', 'mobilenetv2', 'mobilenetv3')} | OTHERS


def mini_twin(name):
    # Configs that differ in their data share one: an _aug config has more images to train on.
    return re.sub('_(aug|busi|faces|trees|ade20k|imagenet_r|tiny_imagenet)$', '', name) + '_mini'


@pytest.mark.parametrize('name', FULL)
def test_every_config_has_a_mini_twin(name, configs):
    def network(cfg):
        return {key: value for key, value in cfg.model.backbone.items() if key != 'input_size'}
    assert mini_twin(name) in MINI
    full, mini = network(configs[name]), network(configs[mini_twin(name)])
    if mini['type'] == 'mmpretrain.MobileNetV3':
        # How fast its statistics follow is a matter of the iterations; all else of its norms is its own.
        own = inspect.signature(MobileNetV3).parameters['norm_cfg'].default
        assert mini.pop('norm_cfg') == {**own, 'momentum': 0.1}
    if name == 'ssdlite_mobileode_trees':  # small objects: the map of stride 8 too
        assert full.pop('out_indices') == (3, *mini.pop('out_indices'))
    assert full == mini


@pytest.mark.parametrize('name', FULL)
def test_where_data_are_absent_the_mini_twin_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv('MOBILEODE_DATA', str(tmp_path / 'nowhere'))
    cfg = load_config(PATHS[name])
    with config_scope(cfg), pytest.raises(InputError) as error:
        find_sources(cfg, 'train', Documents())
    hint = re.search('then (.+), runs on mini data', str(error.value))
    assert (Path.cwd() / hint[1]).resolve() == PATHS[mini_twin(name)].resolve()
    assert 'To get it: http' in str(error.value)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('peers/*.py')), ids=lambda path: path.stem)
def test_a_peer_asked_for_among_ours_is_named_first(path):
    with pytest.raises(InputError, match=f'; nearest names: [^,]*peers/{path.name}'):
        load_config(CONFIGS / path.name)


def test_the_readme_links_every_full_config():
    text = (CONFIGS / 'README.md').read_text()
    assert sorted(re.findall(r'\((\S+)\.py\)', text)) == sorted(
        str(PATHS[name].relative_to(CONFIGS).with_suffix('')) for name in FULL)


def test_the_readme_s_config_builds(tmp_path):
    text = re.search('```python\n(.*?)```', (CONFIGS / 'README.md').read_text(), re.DOTALL)[1]
    (tmp_path / 'own.py').write_text(text.replace('/path/to/mobileode/configs', str(CONFIGS)))
    cfg = Config.fromfile(tmp_path / 'own.py')
    init_default_scope(cfg.default_scope)
    assert type(MODELS.build(cfg.model).backbone).__name__ == 'ShuffleNetV2'
    assert cfg.train_dataloader.batch_size == 16


def test_every_mini_has_its_full_config():
    assert {mini_twin(name) for name in FULL} == set(MINI)


@pytest.mark.parametrize('name', ALIKE)
def test_peers_differ_by_their_backbone_only(name, configs):
    first = 'ssdlite_mobileode_mini' if name in MINI else 'ssdlite_mobileode'
    assert without_backbone(configs[name]) == without_backbone(configs[first])


@pytest.mark.parametrize('name', SSDLITE)
def test_network_and_head_fit(name, configs, models):
    cfg, model = configs[name], models(name)
    assert 'in_channels' not in cfg.model.neck and 'in_channels' not in cfg.model.bbox_head
    assert 'pretrained' not in cfg.model.backbone and 'init_cfg' not in cfg.model.backbone
    assert tuple(model.bbox_head.in_channels) == model.neck.out_channels
    tile = cfg.model.test_cfg.get('tile')
    side = tile['size'] if tile else cfg.test_pipeline[1]['scale'][0]
    with torch.no_grad():
        scores, _ = model.eval()(torch.zeros(1, 3, side, side), mode='tensor')
    # Anchor centres lie where the maps' positions lie.
    for score, (stride, _) in zip(scores, model.bbox_head.prior_generator.strides, strict=True):
        assert score.shape[-1] * stride == pytest.approx(side)
    sizes = [score.shape[-2:] for score in scores]
    priors = torch.cat(model.bbox_head.prior_generator.grid_priors(sizes, device='cpu'))
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    assert centres.min() > 0 and centres.max() < side
    classes = (cfg.get('metainfo') or {}).get('classes') or DATASETS.get(cfg.dataset_type).METAINFO['classes']
    assert model.bbox_head.num_classes == len(classes)
    # NumClassCheckHook compares every module's num_classes with the data's.
    counts = {module.num_classes for module in model.modules() if hasattr(module, 'num_classes')}
    assert counts == {len(classes)}


@pytest.mark.parametrize('name', [
    name for name in NAMES if name.startswith('rtmdet_') and not name.endswith('_trees')])
def test_peers_with_rtmdets_head_differ_by_their_backbone_only(name, configs):
    first = 'rtmdet_mobileode_mini' if name in MINI else 'rtmdet_mobileode'
    assert without_backbone(configs[name]) == without_backbone(configs[first])


@pytest.mark.parametrize('name', RTMDET)
def test_network_and_rtmdets_head_fit(name, configs, models):
    cfg, model = configs[name], models(name)
    assert model.bbox_head.in_channels == model.neck.out_channels == 96
    tile = cfg.model.test_cfg.get('tile')
    side = tile['size'] if tile else cfg.test_pipeline[1]['scale'][0]
    with torch.no_grad():
        scores, _ = model.eval()(torch.zeros(1, 3, side, side), mode='tensor')
    assert [score.shape[-1] * stride for score, stride in zip(scores, (8, 16, 32), strict=True)] == [side] * 3
    classes = len((cfg.get('metainfo') or {}).get('classes', ())) or (10 if name in MINI else 80)
    assert model.bbox_head.num_classes == scores[0].shape[1] == classes
    if name == 'rtmdet_mobileode':
        assert sum(parameter.numel() for parameter in model.parameters()) == 1_120_748 < 2_000_000


def test_mmdets_recipe_of_rtmdet(configs):
    """The numbers of mmdet's own config, but for the side of 320 px, the network, and the plain resizing of tests."""
    ours = configs['rtmdet_mobileode']
    theirs = Config.fromfile(
        Path(importlib.import_module('mmdet').__file__).parent / '.mim/configs/rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
    assert ours.optim_wrapper == theirs.optim_wrapper
    assert ours.param_scheduler == theirs.param_scheduler
    assert {key: value for key, value in ours.train_cfg.items() if key != 'type'} == {
        key: value for key, value in theirs.train_cfg.items() if key != 'type'}
    hooks = {hook.type: hook for hook in ours.custom_hooks}
    average, switch = theirs.custom_hooks
    assert hooks['EMAHook'] == average
    assert hooks['PipelineSwitchHook'].switch_epoch == switch.switch_epoch
    switched = hooks['PipelineSwitchHook'].switch_pipeline
    assert switched == ours.last_train_pipeline
    for mine, stock in ((ours.train_pipeline, theirs.train_pipeline),
                        (switched, switch.switch_pipeline)):
        assert [step.type for step in mine] == [step.type for step in stock]
        halved = [{key: value for key, value in step.items() if key != 'backend_args'} for step in stock]
        for step, other in zip(mine, halved, strict=True):
            sides = [key for key in other if key in ('img_scale', 'scale', 'crop_size', 'size')]
            for key in sides:
                assert tuple(2 * side for side in step[key]) == tuple(other[key])
            assert {key: value for key, value in step.items() if key not in sides} == {
                key: value for key, value in other.items() if key not in sides}
    head, stock = ours.model.bbox_head, theirs.model.bbox_head
    for key in ('anchor_generator', 'bbox_coder', 'loss_cls', 'loss_bbox', 'stacked_convs'):
        assert head[key] == stock[key]
    assert ours.model.train_cfg == theirs.model.train_cfg


@pytest.mark.parametrize('name', [name for name in SSDLITE if name in MINI])
def test_a_training_step_and_a_prediction(name, configs, models):
    model = models(name)
    sample = DetDataSample(
        metainfo=dict(img_shape=(96, 96), ori_shape=(96, 96), scale_factor=(1, 1)),
        gt_instances=InstanceData(bboxes=torch.tensor([[8., 8., 50., 60.]]), labels=torch.tensor([3])),
        ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))
    data = dict(inputs=[torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)] * 2,
                data_samples=[sample, sample.clone()])
    model.train()
    batch = model.data_preprocessor(data, training=True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert loss > 0
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    results = model.test_step(data)
    assert len(results) == 2 and results[0].pred_instances.bboxes.shape[1] == 4


def test_released_recipe(configs):
    """The numbers of the released SSD recipe, computed apart from the config."""
    cfg = configs['ssdlite_mobileode']
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1.2e-3, weight_decay=0.05)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == 500 and not warm_up.by_epoch
    assert cosine.eta_min == 1e-6 and cosine.T_max == cosine.end == cfg.train_cfg.max_epochs == 200
    assert [hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook'] == [5e-4]
    assert cfg.model.neck.out_channels == (512, 256, 256, 128, 128, 64)
    anchors = cfg.model.bbox_head.anchor_generator
    scales = np.linspace(0.1, 1.05, 7) * 320
    np.testing.assert_allclose(anchors.min_sizes, scales[:-1])
    np.testing.assert_allclose(anchors.max_sizes, scales[1:])
    np.testing.assert_allclose(anchors.strides, 320 / np.array([20, 10, 5, 3, 2, 1]))
    assert anchors.ratios == [[2, 3]] * 5 + [[2]]
    train_cfg = cfg.model.train_cfg
    assert train_cfg.assigner.pos_iou_thr == train_cfg.assigner.neg_iou_thr == 0.5
    assert train_cfg.neg_pos_ratio == 3
    assert cfg.model.bbox_head.bbox_coder.target_stds == [0.1, 0.1, 0.2, 0.2]


def test_cos_in_neck_and_head(configs, models):
    """Under 0.8 M parameters with COCO's 80 classes, where the plain one has 1.9 M; its twin differs as its does."""
    full, mini = models('ssdlite_mobileode_full'), models('ssdlite_mobileode_full_mini')
    assert sum(parameter.numel() for parameter in full.parameters()) == 755_720 < 800_000
    assert sum(parameter.numel() for parameter in mini.parameters()) == 681_892
    for model in (full, mini):
        assert model.neck.out_channels == (144, ) * 6
        solvers = [module for part in (model.neck, model.bbox_head) for module in part.modules()
                   if isinstance(module, SolverConv)]
        # Two projections, three extra layers, the pooled map's; a tower for classes and one for boxes of each map.
        assert len(solvers) == 6 + 12
        assert len({id(layers[-1]) for layers in model.bbox_head.cls_convs}) == 1
    for kind in ('', '_mini'):
        plain, whole = configs[f'ssdlite_mobileode{kind}'], configs[f'ssdlite_mobileode_full{kind}']
        assert plain.model.backbone == whole.model.backbone
        assert plain.optim_wrapper == whole.optim_wrapper and plain.train_dataloader == whole.train_dataloader


@pytest.mark.parametrize('data, classes, decay', [('busi', ('benign', 'malignant'), 0.05), ('faces', ('face', ), 0.07)])
def test_released_recipe_on_small_sets(data, classes, decay, configs):
    """The numbers of the release, computed apart from the configs."""
    for version, rate in (('', 9e-4), ('_v2', 1.2e-3)):
        cfg = configs[f'ssdlite_mobileode{version}_{data}']
        assert cfg.model.backbone.type == ('MobileODEV2' if version else 'MobileODEV1')
        assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=rate, weight_decay=decay)
        warm_up, cosine = cfg.param_scheduler
        assert warm_up.start_factor * rate == pytest.approx(9e-5) and warm_up.end == 500 and not warm_up.by_epoch
        assert cosine.eta_min == 1e-6 and cosine.T_max == cosine.end == cfg.train_cfg.max_epochs == 200
        assert [hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook'] == [5e-4]
        assert cfg.model.test_cfg.nms.iou_threshold == 0.5
        kinds = ['LoadImageFromFile', 'LoadAnnotations', 'Resize', 'PackDetInputs']
        assert sorted(step.type for step in cfg.train_pipeline) == sorted(kinds)
        assert cfg.model.bbox_head.anchor_generator == configs['ssdlite_mobileode'].model.bbox_head.anchor_generator
        for split in ('train', 'val', 'test'):
            dataset = cfg[f'{split}_dataloader'].dataset
            assert (dataset.data_root, dataset.metainfo.classes) == (f'data/{data}/', classes)
            assert dataset.data_prefix.img == f'{"train" if split == "train" else "val"}/'
            resize, = (step for step in dataset.pipeline if step.type == 'Resize')
            assert (resize.scale, resize.keep_ratio, resize.interpolation) == ((320, 320), False, 'bicubic')
        assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
        for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
            assert evaluator.ann_file == f'data/{data}/annotations/instances_val.json'


@pytest.mark.parametrize('name', ['ssdlite_mobileode', 'ssdlite_mobileode_mini'])
def test_data(name, configs):
    cfg = configs[name]
    root = 'data/coco/' if name == 'ssdlite_mobileode' else 'data/mini/coco/'
    for split, loader in (
            ('train', cfg.train_dataloader), ('val', cfg.val_dataloader), ('val', cfg.test_dataloader)):
        assert loader.dataset.data_root == root
        assert loader.dataset.ann_file == f'annotations/instances_{split}2017.json'
        assert loader.dataset.data_prefix == dict(img=f'{split}2017/')
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.ann_file == f'{root}annotations/instances_val2017.json'
    kinds = [step.type for step in cfg.train_pipeline]
    if name == 'ssdlite_mobileode':
        expand = cfg.train_pipeline[kinds.index('Expand')]
        assert expand.mean == cfg.model.data_preprocessor.mean
        assert expand.to_rgb == cfg.model.data_preprocessor.bgr_to_rgb
    else:
        assert 'RandomFlip' not in kinds  # a mirrored digit is another digit


def test_mini_classes(configs):
    assert configs['ssdlite_mobileode_mini'].metainfo.classes == tuple(MINI_CLASSES)


@pytest.mark.parametrize('module', MODULES)
def test_base_configs_are_importable_pure_data(module):
    def is_data(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and is_data(one) for key, one in value.items())
        if isinstance(value, (list, tuple)):
            return all(map(is_data, value))
        return value is None or isinstance(value, (str, int, float, bool))
    names = {name: value for name, value in vars(importlib.import_module(module)).items() if name[:2] != '__'}
    assert names and all(map(is_data, names.values()))
    assert Config.fromfile(BASES.joinpath(*module.split('.')[1:]).with_suffix('.py')).to_dict() == names


BACKBONE = "dict(type='MobileODEV1', out_indices=(4, 5), input_size=320, act_cfg=dict(type='SiLU'))"
PARTS = ('models.ssdlite', 'datasets.coco_detection', 'schedules.ssdlite_200e', 'runtime.default', 'runtime.detection')
OWN_CONFIGS = {
    'from our config': f'''_base_ = {str(CONFIGS / 'ssdlite_mobileode.py')!r}''',
    'from our base files': f'''_base_ = {[str(BASES / f"{part.replace('.', '/')}.py") for part in PARTS]!r}
model = dict(backbone={BACKBONE})''',
    'by read_base': '''from mmengine.config import read_base
with read_base():
''' + '\n'.join(f'    from mmodeconf.{part} import *' for part in PARTS) + f'''
model['backbone'] = {BACKBONE}''',
}


@pytest.mark.parametrize('text', OWN_CONFIGS.values(), ids=OWN_CONFIGS)
def test_a_config_of_one_s_own(text, tmp_path, monkeypatch, configs, models):
    """From any folder, by _base_ or by read_base: the same settings and model, and one's own changes."""
    own = tmp_path / 'own.py'
    own.write_text(text + '\n')
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(own)
    assert cfg.to_dict() == configs['ssdlite_mobileode'].to_dict()
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    ours, theirs = MODELS.build(cfg.model).state_dict(), models('ssdlite_mobileode').state_dict()
    assert ours.keys() == theirs.keys()
    assert all(ours[key].shape == theirs[key].shape for key in ours)

    change = ("optim_wrapper['optimizer']['lr'] = 1e-4" if 'read_base' in text else
              'optim_wrapper = dict(optimizer=dict(lr=1e-4))')
    own.write_text(f'{text}\n{change}\n')
    changed = Config.fromfile(own)
    assert changed.optim_wrapper.optimizer.lr == 1e-4
    assert changed.optim_wrapper.optimizer.weight_decay == 0.05


@pytest.mark.parametrize('options', [
    {'model.backbone.type': 'MobileODEV2'},
    {'model.backbone._delete_': True, 'model.backbone.type': 'MobileNetV1',
     'model.backbone.out_indices': (4, 5)},
    {'model.backbone._delete_': True, 'model.backbone.type': 'mmdet.MobileNetV2',
     'model.backbone.out_indices': (4, 7)},
], ids=lambda options: options['model.backbone.type'])
def test_another_backbone_by_option(options):
    """As --cfg-options does it: neck and head are not touched."""
    cfg = Config.fromfile(CONFIGS / 'ssdlite_mobileode_mini.py')
    cfg.merge_from_dict(options)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == options['model.backbone.type'].split('.')[-1]
    assert len(model.eval()(torch.zeros(1, 3, 96, 96), mode='tensor')[0]) == 6


def test_averages_of_short_trainings_forget_the_initial_statistics():
    """A running variance of 1, with which each norm begins, may be a thousand times the true one."""
    hook, = Config.fromfile(BASES / 'schedules/own.py').custom_hooks
    assert hook.ema_type == 'MomentumAnnealingEMA'
    norm = torch.nn.BatchNorm2d(1)
    averages = MomentumAnnealingEMA(norm, hook.momentum, hook.gamma, update_buffers=hook.update_buffers)
    for _ in range(200):
        norm.running_var.lerp_(torch.tensor(1e-3), norm.momentum)
        averages.update_parameters(norm)
    assert float(averages.module.running_var) == pytest.approx(1e-3, rel=0.01)
