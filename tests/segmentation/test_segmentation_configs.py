"""Every segmentation config: the network of each, the released recipe, the data."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.datasets import ADE20KDataset, PascalVOCDataset
from mmseg.registry import DATASETS, MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.data import MINI_CLASSES
from mobileode_mm.ode import PositionNorm
from mobileode_mm.segmentation import GaussianNoise

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
    expected |= {f'deeplabv3_{network}_ade20k' for network in NETWORKS[:2]}
    expected |= {f'deeplabv3_mobileode_anytime{mini}' for mini in ('', '_mini')}
    assert set(NAMES) == expected


@pytest.mark.parametrize('name', [name for name in NAMES if not any(
    kind in name for kind in ('_os16', '_aug', '_ade20k'))])
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
    classes = (cfg.metainfo.classes if name.endswith('_mini') else
               DATASETS.get(cfg.dataset_type).METAINFO['classes'])
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


def test_released_recipe_on_ade20k(configs):
    from mmengine.optim import build_optim_wrapper
    cfg = configs['deeplabv3_mobileode_ade20k']
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
    cosine, = cfg.param_scheduler
    assert cosine.eta_min == 1e-4 and cosine.T_max == cosine.end == cfg.train_cfg.max_epochs == 200
    assert [hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook'] == [1e-4]
    assert cfg.model.auxiliary_head.loss_decode.loss_weight == 0.4
    assert cfg.crop_size == (256, 256) and cfg.train_dataloader.batch_size == 4
    steps = {step.type: step for step in cfg.train_pipeline}
    assert [min(scale) for scale in steps['RandomResize'].scale] == [256, 768]
    assert steps['RandomRotate'].degree == 10 and {'PhotoMetricDistortion', 'GaussianNoise'} <= steps.keys()
    # Norms and biases are not decayed: batch norms, and those inside the solvers.
    model = MODELS.build(cfg.model)
    norms = {id(parameter) for module in model.modules() if isinstance(module, (_BatchNorm, PositionNorm))
             for parameter in module.parameters()}
    norms |= {id(parameter) for name, parameter in model.named_parameters() if name.endswith('bias')}
    groups = build_optim_wrapper(revert_sync_batchnorm(model), cfg.optim_wrapper).optimizer.param_groups
    for group in groups:
        for parameter in group['params']:
            assert group['weight_decay'] == (0 if id(parameter) in norms else 1e-4)
    assert {group['lr'] for group in groups} == {0.02}


def test_ade20k_s_images_and_labels(configs, tmp_path):
    """In the set's own layout: label 0 of a file is void, the others count from 0."""
    rng = np.random.default_rng(0)
    labels = np.zeros((280, 300), np.uint8)
    labels[:140], labels[140:, :150] = 1, 150
    for split in ('training', 'validation'):
        for folder, name, content in (('images', 'ADE_1.jpg', rng.integers(0, 255, (280, 300, 3), np.uint8)),
                                      ('annotations', 'ADE_1.png', labels)):
            (tmp_path / folder / split).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / folder / split / name), content)
    cfg = configs['deeplabv3_mobileode_ade20k']
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = DATASETS.build(dict(loader.dataset, data_root=str(tmp_path)))
        assert type(dataset) is ADE20KDataset and len(dataset) == 1
        found = set(np.unique(dataset[0]['data_samples'].gt_sem_seg.data.numpy()))
        assert found <= {0, 149, 255} and dataset[0]['inputs'].dtype == torch.uint8
    assert found == {0, 149, 255}
    assert cfg.train_dataloader.dataset.pipeline[-1].type == 'PackSegInputs'


def test_gaussian_noise():
    image = np.full((40, 50, 3), 250, np.uint8)
    assert GaussianNoise(prob=0)(dict(img=image))['img'] is image
    np.random.seed(0)
    noisy = GaussianNoise(prob=1, max_std=20)(dict(img=image))['img']
    assert noisy.dtype == np.uint8 and noisy.shape == image.shape
    # Clipped at white instead of wrapped to black.
    assert noisy.max() == 255 and noisy.min() > 150 and 1 < noisy.std() < 20
    for bad in (dict(prob=1.5), dict(max_std=-1)):
        with pytest.raises(ValueError, match='0 or more'):
            GaussianNoise(**bad)


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
