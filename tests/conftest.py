"""Tiny data of the three tasks and tiny configs on stock models, to run the command lines on."""
import functools
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import mobileode_mm  # noqa: F401 (before mmdet, whose models need mmcv's operators)

ROOT = Path(__file__).parents[1]
CLASSES = ('red', 'green', 'blue')
SIDE = 64

# Random augmentation in two workers that stay alive, as stock configs have it.
COMMON = '''
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=dict(type='LoggerHook', interval=1))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs={epochs}, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = [dict(type='MultiStepLR', milestones=[2], by_epoch=True)]
auto_scale_lr = dict(enable=False, base_batch_size=16)
randomness = dict(seed=3)
log_processor = dict(window_size=1)


def loader(dataset, train):
    return dict(batch_size=4, num_workers=2, persistent_workers=True, dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=train))
'''

DETECTION = '''
default_scope = 'mmdet'
data_root = 'data/coco/'
metainfo = dict(classes=('red', 'green', 'blue'))
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[127.] * 3, std=[64.] * 3, pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(2, 3)),
    neck=dict(type='FPN', in_channels=[32, 64], out_channels=16, num_outs=2),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=1, scales_per_octave=2, ratios=[1.],
                              strides=[16, 32]),
        loss_bbox=dict(type='L1Loss')),
    train_cfg=dict(assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
                   sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.5),
                  max_per_img=10))


def dataset(split, train):
    steps = [dict(type='Resize', scale=(64, 64), keep_ratio=False)]
    if train:
        steps += [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')]
    return dict(
        type='CocoDataset', data_root=data_root, metainfo=metainfo, ann_file='annotations/%s.json' % split,
        data_prefix=dict(img=split + '/'), test_mode=not train, filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), *steps,
                  dict(type='PackDetInputs', meta_keys=(
                      'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))])


train_dataloader = loader(dict(type='RepeatDataset', times=1, dataset=dataset('train', True)), True)
val_dataloader = test_dataloader = loader(dataset('val', False), False)
val_evaluator = test_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json')
'''

SEGMENTATION = '''
default_scope = 'mmseg'
data_root = 'data/voc/'
metainfo = dict(classes=('ground', 'red', 'green', 'blue'))
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[127.] * 3, std=[64.] * 3, size=(64, 64)),
    backbone=dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, num_stages=3, strides=(1, 2, 2),
                  dilations=(1, 1, 1), out_indices=(2, ),
                  norm_cfg=dict(type='SyncBN'), norm_eval=False),
    decode_head=dict(type='FCNHead', in_channels=32, in_index=0, channels=16, num_convs=1, dropout_ratio=0.5,
                     num_classes=4, norm_cfg=dict(type='SyncBN')),
    test_cfg=dict(mode='whole'))


def dataset(split, train):
    steps = [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')] if train else []
    return dict(
        type='BaseSegDataset', data_root=data_root, metainfo=metainfo, ann_file='%s.txt' % split,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'), test_mode=not train,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), *steps, dict(type='PackSegInputs')])


train_dataloader = loader(dataset('train', True), True)
val_dataloader = test_dataloader = loader(dataset('val', False), False)
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
'''

CLASSIFICATION = '''
default_scope = 'mmpretrain'
data_root = 'data/folders/'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.] * 3, std=[64.] * 3, num_classes=3),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=64, loss=dict(type='CrossEntropyLoss'), topk=(1, )))


def dataset(split, train):
    steps = [dict(type='RandomFlip', prob=0.5)] if train else []
    return dict(type='CustomDataset', data_root=data_root, data_prefix=split, test_mode=not train,
                pipeline=[dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')])


train_dataloader = loader(dataset('train', True), True)
val_dataloader = test_dataloader = loader(dataset('val', False), False)
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, ))
'''

# A narrow MobileODE on the classification data.
ANYTIME = '''
_base_ = 'classification.py'
custom_imports = dict(imports=['mobileode_mm', 'mobileode_mm.classification'])
model = dict(
    type='FittedClassifier',
    backbone=dict(_delete_=True, type='mobileode_mm.MobileODEV1', widen_factor=0.125, input_size=64, num_steps=2{more}),
    head=dict(in_channels=9))
train_dataloader = val_dataloader = test_dataloader = dict(num_workers=0, persistent_workers=False)
'''

CONFIGS = {'detection': DETECTION, 'segmentation': SEGMENTATION, 'classification': CLASSIFICATION}


def pytest_configure() -> None:
    """Whoever runs the tests in the background has them ignore interrupts, and what they start with them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _handler_of_interrupts():
    """A command's handler, or that it ignores them at its end, is not to reach later tests and what those start."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def make_data(root: Path) -> None:
    """Squares in three colours, in the layouts of COCO, VOC and class folders."""
    rng = np.random.default_rng(0)
    for split, count in (('train', 16), ('val', 6)):
        images, annotations, names = [], [], []
        for number in range(count):
            image = rng.integers(0, 90, (SIDE, SIDE, 3), np.uint8)
            labels = np.zeros((SIDE, SIDE), np.uint8)
            label = number % 3
            x, y, side = *rng.integers(0, 24, 2), rng.integers(20, 40)
            image[y:y + side, x:x + side, 2 - label] = 255
            labels[y:y + side, x:x + side] = label + 1
            name = f'{split}_{number}'
            names.append(name)
            _write(root / 'coco' / split / f'{name}.jpg', image)
            _write(root / 'voc/JPEGImages' / f'{name}.jpg', image)
            _write(root / 'voc/SegmentationClass' / f'{name}.png', labels)
            _write(root / 'folders' / split / CLASSES[label] / f'{name}.png', image)
            images.append(dict(id=number, file_name=f'{name}.jpg', width=SIDE, height=SIDE))
            annotations.append(dict(id=number, image_id=number, category_id=label + 1, iscrowd=0,
                                    bbox=[int(x), int(y), int(side), int(side)], area=int(side * side)))
        (root / 'voc' / f'{split}.txt').write_text('\n'.join(names) + '\n')
        (root / 'coco/annotations').mkdir(exist_ok=True)
        (root / 'coco/annotations' / f'{split}.json').write_text(json.dumps(dict(
            images=images, annotations=annotations,
            categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]), indent=1))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def make_place(folder: Path, epochs: int = 3) -> Path:
    """A folder with ``data/`` and a config for each task, to run the tools in."""
    make_data(folder / 'data')
    for task, text in CONFIGS.items():
        (folder / f'{task}.py').write_text(COMMON.format(epochs=epochs) + text)
    return folder


@pytest.fixture(scope='session')
def shared_place(tmp_path_factory):
    """For tests that leave the data as they are."""
    return make_place(tmp_path_factory.mktemp('place'))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, for tests that spoil the data."""
    monkeypatch.chdir(make_place(tmp_path))
    monkeypatch.delenv('MOBILEODE_DATA', raising=False)
    return tmp_path


@pytest.fixture(scope='session')
def start():
    """Start a tool of the checkout in a process of its own: ``start(folder, 'train.py', ...)``."""

    def start_tool(folder, tool, *args, **environment):
        command = ['bash'] if tool.endswith('.sh') else [sys.executable]
        # The checkout's package, whatever is installed and whatever else the test wants to import.
        paths = [environment.pop('PYTHONPATH', ''), str(ROOT), os.environ.get('PYTHONPATH', '')]
        return subprocess.Popen(
            [*command, str(ROOT / 'tools' / tool), *map(str, args)], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PYTHON': sys.executable,
                 'PYTHONPATH': os.pathsep.join(filter(None, paths)), **environment})

    return start_tool


@pytest.fixture(scope='session')
def run(start):
    """Run a tool to its end: exit status, output, error output."""

    def run_tool(*args, **environment):
        process = start(*args, **environment)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    return run_tool


@pytest.fixture(scope='session')
def trained(shared_place, run):
    """Train a task's config once, by the command line: ``trained('detection')`` gives the work dir and the output."""

    @functools.cache
    def train(task):
        status, log, err = run(shared_place, 'train.py', f'{task}.py', '--auto-scale-lr')
        assert status == 0, err
        return shared_place / 'work_dirs' / task, log

    return train


@pytest.fixture(scope='session')
def anytime_place(shared_place):
    """A folder with the configs ``any.py``, for one step and two, and ``plain.py``, for two, and with the checkpoints
    ``any.py.pth`` and ``plain.py.pth`` of networks that nobody has trained."""
    import torch

    from mobileode_mm.runs.checks import build_model, config_scope
    from mobileode_mm.runs.config import load_config
    for name, more in (('any.py', ', anytime=dict(steps=(1, 2))'), ('plain.py', '')):
        (shared_place / name).write_text(ANYTIME.format(more=more))
        cfg = load_config(shared_place / name)
        with config_scope(cfg):
            torch.manual_seed(0)
            model = build_model(cfg)
        for key, value in model.state_dict().items():
            if key.endswith('running_mean'):
                torch.nn.init.normal_(value, std=0.1)
        torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1, iter=4)), shared_place / f'{name}.pth')
    return shared_place


@pytest.fixture(scope='session')
def toy():
    """The module of the toy model and its configs."""
    spec = importlib.util.spec_from_file_location('toy', Path(__file__).with_name('engine') / 'toy.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['toy'] = module  # data loaders pickle by module name
    spec.loader.exec_module(module)
    return module
