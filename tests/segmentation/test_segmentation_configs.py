"""Every segmentation config: the network of each, the released recipe, the data."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.datasets import PascalVOCDataset
from mmseg.registry import DATASETS, MODELS

from mobileode_mm.data import MINI_CLASSES

CONFIGS = Path(__file__).parents[2] / 'configs'
PATHS = {path.stem: path for path in sorted(CONFIGS.rglob('deeplabv3_*.py'))}
NAMES = sorted(PATHS)
NETWORKS = ('mobileode', 'mobileode_v2', 'mobileode_edge', 'mobilenetv1', 'mobilenetv2', 'mobilenetv3')


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture(scope='module')
def configs():
    return {name: Config.fromfile(path) for name, path in PATHS.items()}


def test_names():
    expected = {f'deeplabv3_{network}{kind}' for network in NETWORKS for kind in ('', '_mini', '_aug')}
    expected |= {f'deeplabv3_{network}_os16{mini}' for network in NETWORKS[:2] for mini in ('', '_mini')}
    assert set(NAMES) == expected


@pytest.mark.parametrize('name', [name for name in NAMES if '_os16' not in name and not name.endswith('_aug')])
def test_peers_differ_by_their_backbone_only(name, configs):
    def without_backbone(cfg):
        cfg = cfg.to_dict()
        del cfg['model']['backbone']
        return cfg
    first = 'deeplabv3_mobileode_mini' if name.endswith('_mini') else 'deeplabv3_mobileode'
    assert without_backbone(configs[name]) == without_backbone(configs[first])


@pytest.mark.parametrize('name', [name for name in NAMES if not name.endswith('_aug')])
def test_network(name, configs):
    cfg = configs[name]
    assert 'in_channels' not in cfg.model.decode_head and 'in_channels' not in cfg.model.auxiliary_head
    assert 'pretrained' not in cfg.model.backbone and 'init_cfg' not in cfg.model.backbone
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 96, 64))
        logits = model.decode_head(maps)
    stride = 16 if '_os16' in name else 8
    assert [tuple(x.shape[2:]) for x in maps] == [(96 // stride, 64 // stride)] * 2
    classes = cfg.metainfo.classes if name.endswith('_mini') else PascalVOCDataset.METAINFO['classes']
    assert logits.shape[1] == len(classes) == model.auxiliary_head.num_classes
    if 'mobileode' in name:
        # The norms' reference grids are those of the training crop.
        assert cfg.model.backbone.input_size == cfg.crop_size[0] == cfg.crop_size[1]


@pytest.mark.parametrize('name', [f'deeplabv3_{network}_aug' for network in NETWORKS])
def test_augmented_training_set(name, configs):
    cfg, plain = configs[name], configs[name.removesuffix('_aug')]
    dataset = cfg.train_dataloader.dataset
    assert dataset.type == 'ConcatDataset' and set(dataset) == {'type', 'datasets'}
    voc, sbd = dataset.datasets
    assert voc == plain.train_dataloader.dataset
    assert sbd.ann_file == 'ImageSets/Segmentation/aug.txt'
    assert sbd.data_prefix == dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug')
    assert {**sbd, 'ann_file': 0, 'data_prefix': 0} == {**voc, 'ann_file': 0, 'data_prefix': 0}
    for key in plain:
        if key != 'train_dataloader':
            assert cfg[key] == plain[key], key


def test_released_recipe(configs):
    cfg = configs['deeplabv3_mobileode']
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=9e-4, weight_decay=0.01)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.end == 500 and not warm_up.by_epoch
    assert cosine.eta_min == 1e-6 and cosine.T_max == cosine.end == cfg.train_cfg.max_epochs == 50
    head = cfg.model.decode_head
    assert (head.type, head.channels, head.dilations, head.dropout_ratio) == ('ASPPHead', 512, (1, 12, 24, 36), 0.1)
    assert cfg.model.test_cfg.mode == 'whole'
    steps = {step.type: step for step in cfg.train_pipeline}
    assert [min(scale) for scale in steps['RandomResize'].scale] == [256, 768]
    assert steps['RandomRotate'].degree == 10 and 'PhotoMetricDistortion' in steps
    assert cfg.crop_size == (512, 512)


def test_heads_learn_ten_times_as_fast(configs):
    from mmengine.optim import build_optim_wrapper
    cfg = configs['deeplabv3_mobileode']
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = {id(parameter): group['lr'] for group in groups for parameter in group['params']}
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(9e-3 if 'head' in name else 9e-4), name


@pytest.fixture
def images(tmp_path, configs):
    """Two images of VOC's size in VOC's layout."""
    rng = np.random.default_rng(0)
    for name, size in (('a', (375, 500)), ('b', (500, 333))):
        labels = np.zeros(size, np.uint8)
        labels[50:200, 60:250] = 7
        for path, image in ((f'JPEGImages/{name}.jpg', rng.integers(0, 255, (*size, 3), np.uint8)),
                              (f'SegmentationClass/{name}.png', labels)):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / path), image)
    for split in ('train', 'val'):
        path = tmp_path / f'ImageSets/Segmentation/{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('a\nb\n')
    return tmp_path


@pytest.mark.parametrize('name', ['deeplabv3_mobileode', 'deeplabv3_mobileode_mini'])
def test_pipelines(name, configs, images):
    """What comes out of them for images of VOC's size."""
    cfg = configs[name]
    train = DATASETS.build({**cfg.train_dataloader.dataset, 'data_root': str(images)})
    np.random.seed(0)
    for index in (0, 1) * 5:
        sample = train[index]
        assert sample['inputs'].shape == (3, *cfg.crop_size)
        labels = sample['data_samples'].gt_sem_seg.data
        assert labels.shape == (1, *cfg.crop_size)
        assert set(labels.unique().tolist()) <= {0, 7, 255}
    val = DATASETS.build({**cfg.val_dataloader.dataset, 'data_root': str(images)})
    short = 512 if name == 'deeplabv3_mobileode' else 120
    for index, size in enumerate([(375, 500), (500, 333)]):
        sample = val[index]
        assert min(sample['inputs'].shape[1:]) == short
        # Compared in the image's own pixels.
        assert sample['data_samples'].gt_sem_seg.data.shape == (1, *size)


def test_mini_classes_and_colours(configs):
    metainfo = configs['deeplabv3_mobileode_mini'].metainfo
    assert metainfo.classes == ('background', *MINI_CLASSES)
    voc = PascalVOCDataset.METAINFO['palette']
    assert metainfo.palette == voc[:11] and metainfo.palette[0] == [0, 0, 0]
    kinds = [step.type for step in configs['deeplabv3_mobileode_mini'].train_pipeline]
    assert 'RandomFlip' not in kinds  # a mirrored digit is another digit
