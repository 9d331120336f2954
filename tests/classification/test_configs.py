"""The classification configs: networks, recipe, data."""
import math
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DATASETS, PARAM_SCHEDULERS, DefaultScope
from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import nn

from mobileode_mm.cli import main
from mobileode_mm.data import MINI_CLASSES

CONFIGS = Path(__file__).parents[2] / 'configs'
PATHS = {path.stem: path for path in sorted(CONFIGS.rglob('classify_*.py'))}
NAMES = sorted(PATHS)
NETWORKS = ('mobileode', 'mobileode_edge', 'mobileode_v2', 'mobilenetv1', 'mobilenetv2', 'mobilenetv3')
#: Beside those in every setting: the hybrid, several numbers of steps in one checkpoint, the release's further data.
OTHERS = {'classify_mobilevit_ode', 'classify_mobilevit_ode_mini', 'classify_mobilevit_ode_imagenet_r',
          'classify_mobileode_anytime', 'classify_mobileode_anytime_mini',
          *(f'classify_{network}_{data}' for network in ('mobileode', 'mobileode_v2')
            for data in ('imagenet_r', 'tiny_imagenet'))}
# Networks that take strides and, so, CIFAR's images as they are.
STRIDED = ('mobileode', 'mobileode_edge', 'mobileode_v2', 'mobilenetv1')


@pytest.fixture(scope='module')
def configs():
    return {name: Config.fromfile(path) for name, path in PATHS.items()}


@pytest.fixture(scope='module')
def models(configs):
    """Builds each config's model once."""
    built = {}

    def get(name):
        if name not in built:
            torch.manual_seed(0)
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                built[name] = MODELS.build(dict(
                    configs[name].model, data_preprocessor=dict(configs[name].data_preprocessor)))
        return built[name]

    return get


def setting(name):
    return name.removeprefix('classify_').removeprefix(network(name)).removeprefix('_')


def network(name):
    """The longest name of a network that fits."""
    return max((one for one in (*NETWORKS, 'mobilevit_ode', 'mobileode_anytime')
                if name.removeprefix('classify_').startswith(one)), key=len)


def test_every_network_in_every_setting():
    assert set(NAMES) == {f'classify_{one}{suffix}' for one in NETWORKS
                          for suffix in ('', '_mini', '_cifar10', '_cifar10_mini')} | OTHERS


def input_side(cfg):
    """Side of the square images that the network is tested on, where the pipeline says so."""
    sides = [step.get('crop_size') or step['scale'][0] for step in cfg.test_dataloader.dataset.pipeline
             if step.type in ('CenterCrop', 'Resize')]
    return sides[-1] if sides else 32 if cfg.test_dataloader.dataset.type == 'CIFAR10' else 64


# The others' images are enlarged for CIFAR-10: see test_peers_see_maps_of_the_same_size.
@pytest.mark.parametrize('name', [name for name in NAMES if 'cifar10' not in name or network(name) in STRIDED])
def test_peers_differ_by_their_backbone_only(name, configs):
    first = '_'.join(filter(None, ('classify_mobileode', setting(name))))

    def rest(cfg):
        cfg = cfg.to_dict()
        del cfg['model']['backbone']
        return cfg

    assert rest(configs[name]) == rest(configs[first])


@pytest.mark.parametrize('name', NAMES)
def test_network_and_classes_fit(name, configs, models):
    cfg, model = configs[name], models(name)
    assert 'in_channels' not in cfg.model.head
    assert 'pretrained' not in cfg.model.backbone and 'init_cfg' not in cfg.model.backbone
    assert model.head.num_classes == {'': 1000, 'imagenet_r': 200, 'tiny_imagenet': 200}.get(setting(name), 10)
    assert model.head.dropout.p == 0.1
    if 'mobileode' in name or 'mobilevit' in name:
        # The reference grids of the position norms are those of the images it is trained on.
        assert cfg.model.backbone.input_size == input_side(cfg)


@pytest.mark.parametrize('name', NAMES)
def test_peers_see_maps_of_the_same_size(name, configs, models):
    """The last map is 8 px wide for ImageNet-1k, 4 px for CIFAR-10, whatever the network."""
    side = input_side(configs[name])
    with torch.no_grad():
        features = models(name).eval().extract_feat(torch.zeros(1, 3, side, side), stage='backbone')
    expected = 4 if 'cifar10' in name else 2 if 'mini' in name or 'tiny' in name else 8
    assert features[-1].shape[2:] == (expected, expected)


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('_mini')])
def test_a_training_step_and_a_prediction(name, models):
    model = models(name).train()
    data = dict(inputs=[torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)] * 2,
                data_samples=[DataSample().set_gt_label(label) for label in (1, 4)])
    loss, _ = model.parse_losses(model(**model.data_preprocessor(data, training=True), mode='loss'))
    loss.backward()
    assert loss > 0
    found = model.eval().test_step(data)
    assert len(found) == 2 and found[0].pred_score.shape == (10, )


@pytest.mark.parametrize('name', ['classify_mobileode', 'classify_mobileode_cifar10', 'classify_mobileode_imagenet_r',
                                  'classify_mobileode_v2_tiny_imagenet', 'classify_mobilevit_ode_imagenet_r'])
def test_released_recipe(name, configs):
    """The facts of the released classification recipe, written down apart from the config."""
    cfg = configs[name]
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=2e-3, weight_decay=0.01)
    assert cfg.train_cfg.max_epochs == 300
    assert [hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook'] == [5e-4]
    assert cfg.model.head.loss == dict(type='LabelSmoothLoss', label_smooth_val=0.1)
    assert [step.type for step in cfg.train_dataloader.dataset.pipeline if 'Load' not in step.type] == [
        'RandomResizedCrop', 'RandomFlip', 'PackInputs']
    if 'cifar10' in name:
        assert cfg.model.backbone.strides == (1, 1, 1, 2, 2, 2)
        assert cfg.model.backbone.act_cfg.type == 'ReLU'
    else:
        assert 'strides' not in cfg.model.backbone
        assert cfg.model.backbone.act_cfg.type == 'SiLU'


def test_released_images_of_imagenet_r(configs):
    cfg = configs['classify_mobileode_imagenet_r']
    steps = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    assert (steps['ResizeEdge'].scale, steps['CenterCrop'].crop_size) == (288, 256)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16


def learning_rates(cfg, iterations_per_epoch):
    """Learning rate of every iteration, from MMEngine's own schedulers."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = []
    for one in cfg.param_scheduler:
        one = dict(one)
        kind = PARAM_SCHEDULERS.get(one.pop('type'))
        if one.pop('convert_to_iter_based', False):
            schedulers.append(kind.build_iter_from_epoch(
                optimizer, epoch_length=iterations_per_epoch, **one))
        else:
            schedulers.append(kind(optimizer, **one))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs * iterations_per_epoch):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    return np.array(rates)


def test_learning_rate_over_the_run(configs):
    """CIFAR-10, 390 iterations an epoch: up from 2e-4 for 20,000 iterations, then down a cosine to 2e-4."""
    cfg = configs['classify_mobileode_cifar10']
    per_epoch = 50_000 // cfg.train_dataloader.batch_size
    rates = learning_rates(cfg, per_epoch)
    assert rates[0] == pytest.approx(2e-4)
    assert 19_000 < rates.argmax() <= 20_000
    assert rates[-1] == pytest.approx(2e-4, rel=0.01)
    # From there on it is the cosine that a run without warm-up has, to within 1 % (schedulers chain steps).
    progress = np.arange(20_000, len(rates)) / len(rates)
    cosine = 2e-4 + (2e-3 - 2e-4) * (1 + np.cos(math.pi * progress)) / 2
    ratio = (rates[20_000:-1] - 2e-4) / (cosine[:-1] - 2e-4)
    assert ratio.min() == pytest.approx(ratio.max(), rel=1e-3)
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_mini_classes_are_numbered_as_the_dataset_numbers_them(configs, tmp_path):
    """Every image's label names its folder: mmpretrain goes by the order of the folders' names."""
    cfg = configs['classify_mobileode_mini']
    for split in ('train', 'val'):
        for number, name in enumerate(MINI_CLASSES):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / 'a.png'), np.full((64, 64, 3), 20 * number, np.uint8))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(dict(loader.dataset, data_root=str(tmp_path)))
        assert sorted(dataset.metainfo['classes']) == sorted(MINI_CLASSES)
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples']
            assert dataset.metainfo['classes'][sample.gt_label.item()] == Path(sample.img_path).parent.name


def test_no_mini_digit_is_mirrored(configs):
    for name, cfg in configs.items():
        if name.endswith('_mini'):
            assert not any('Flip' in step.type for step in cfg.train_dataloader.dataset.pipeline)


@pytest.mark.parametrize('name', ['classify_mobileode', 'classify_mobileode_mini', 'classify_mobileode_cifar10_mini'])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_images_come_out_square_and_bgr(name, split, configs, tmp_path):
    """A plain image with its channels apart, through the pipeline, and through the preprocessor to RGB."""
    cfg = configs[name]
    image = np.zeros((80, 100, 3) if name == 'classify_mobileode' else (64, 64, 3), np.uint8)
    image[..., 2] = 255  # OpenCV's order: red
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    steps = [step for step in cfg[f'{split}_dataloader'].dataset.pipeline
             if step.type not in ('ColorJitter', 'Invert')]
    np.random.seed(0)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        packed = Compose(steps)(dict(img_path=str(tmp_path / 'a.png'), gt_label=1))
        preprocessor = MODELS.build(dict(cfg.data_preprocessor, type='ClsDataPreprocessor'))
    side = input_side(cfg)
    assert packed['inputs'].shape == (3, side, side)
    middle = side // 2
    assert packed['inputs'][:, middle, middle].tolist() == [0, 0, 255]
    batch = preprocessor(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]))['inputs']
    mean, std = np.array(cfg.data_preprocessor.mean), np.array(cfg.data_preprocessor.std)
    np.testing.assert_allclose(batch[0, :, middle, middle].numpy(), (np.array([255, 0, 0]) - mean) / std, rtol=1e-5)


class UncheckedCIFAR10(CIFAR10):
    """CIFAR-10 of other images, so without the checksums."""
    train_list = [[name, None] for name, _ in CIFAR10.train_list]
    test_list = [[name, None] for name, _ in CIFAR10.test_list]


@pytest.fixture(scope='module')
def cifar(tmp_path_factory):
    """CIFAR-10's own layout with 20 training and 10 test images."""
    root = tmp_path_factory.mktemp('cifar10')
    folder = root / 'cifar-10-batches-py'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in (*((f'data_batch_{number}', 4) for number in range(1, 6)), ('test_batch', 10)):
        images = rng.integers(0, 256, (count, 3 * 32 * 32), np.uint8)
        (folder / name).write_bytes(pickle.dumps(dict(data=images, labels=list(range(count)))))
    return root


@pytest.mark.parametrize('name', ['classify_mobileode_cifar10', 'classify_mobilenetv2_cifar10'])
def test_cifar_images(name, configs, cifar):
    """Read in RGB, uint8 and the size of the network."""
    side = input_side(configs[name])
    for loader, count in ((configs[name].train_dataloader, 20), (configs[name].test_dataloader, 10)):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(dict(loader.dataset, data_root=str(cifar), type=UncheckedCIFAR10))
        assert len(dataset) == count and len(dataset.metainfo['classes']) == 10
        packed = dataset[3]
        assert packed['inputs'].shape == (3, side, side) and packed['inputs'].dtype == torch.uint8
        assert packed['data_samples'].gt_label.item() == 3
    if side == 32:  # the test image as it is
        stored = pickle.loads((cifar / 'cifar-10-batches-py/test_batch').read_bytes())['data'][3]
        assert np.array_equal(packed['inputs'].numpy().ravel(), stored)
        assert not configs[name].data_preprocessor.to_rgb


@pytest.mark.parametrize(('name', 'folder'), [('classify_mobileode', 'imagenet'),
                                              ('classify_mobilenetv2_cifar10', 'cifar10')])
def test_absent_data_is_said_in_one_message(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MOBILEODE_DATA', str(tmp_path / 'nowhere'))
    assert main(['train', str(PATHS[name]), '--work-dir', str(tmp_path / 'work')]) == 2
    message = capsys.readouterr().err
    assert f'there is no {tmp_path}/nowhere/{folder}' in message
    assert f'{name}_mini.py' in message
    assert 'Traceback' not in message
