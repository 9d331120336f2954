"""What a program does to an image by a file's metadata is what the test pipeline does."""
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import config_scope

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
from mobileode_mm.deploy.inputs import fixed_size, preparation  # noqa: E402

DATA = Path(__file__).parents[2] / 'mmodeconf/datasets'


def config(scope, *steps):
    pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type=dict(mmdet='PackDetInputs', mmseg='PackSegInputs',
                                                                      mmpretrain='PackInputs')[scope])]
    return Config(dict(default_scope=scope, test_dataloader=dict(dataset=dict(
        type='RepeatDataset', dataset=dict(type='Any', pipeline=pipeline)))))


@pytest.mark.parametrize('scope, steps', [
    ('mmdet', [dict(type='Resize', scale=(48, 32), keep_ratio=False)]),
    ('mmdet', [dict(type='Resize', scale=(300, 500), keep_ratio=False)]),
    ('mmseg', [dict(type='Resize', scale=(512, 40), keep_ratio=True)]),
    ('mmseg', [dict(type='Resize', scale=(60, 40), keep_ratio=True)]),
    ('mmdet', [dict(type='Resize', scale_factor=1.5)]),
    ('mmpretrain', [dict(type='ResizeEdge', scale=37, edge='short'), dict(type='CenterCrop', crop_size=32)]),
    ('mmpretrain', [dict(type='ResizeEdge', scale=37, edge='short'), dict(type='CenterCrop', crop_size=(32, 24))]),
    ('mmpretrain', [dict(type='Resize', scale=24)]),
    ('mmpretrain', [dict(type='Resize', scale=24, keep_ratio=True)]),
    ('mmpretrain', []),
    ('mmdet', [dict(type='Resize', scale=(48, 32), keep_ratio=False, interpolation='bicubic')]),
    ('mmdet', [dict(type='Resize', scale=(300, 500), keep_ratio=False, interpolation='bicubic')]),
    ('mmpretrain', [dict(type='ResizeEdge', scale=37, edge='short', backend='pillow'),
                    dict(type='CenterCrop', crop_size=32)]),
    ('mmpretrain', [dict(type='ResizeEdge', scale=37, edge='short', backend='pillow', interpolation='bicubic'),
                    dict(type='Resize', scale=24)]),
    ('mmdet', [dict(type='Resize', scale=(64, 64), keep_ratio=True),
               dict(type='Pad', size=(64, 64), pad_val=dict(img=(114, 7, 0)))]),
    ('mmdet', [dict(type='Resize', scale=(640, 640), keep_ratio=True),
               dict(type='Pad', pad_to_square=True, pad_val=dict(img=(114.0, 114.0, 114.0)))]),
    ('mmdet', [dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(type='Pad', size=(64, 64))]),
], ids=str)
@pytest.mark.parametrize('size', [(97, 130), (130, 97), (33, 34)])
def test_steps_are_the_pipelines(program, scope, steps, size):
    cfg = config(scope, *steps)
    rng = np.random.default_rng(0)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)).resize(size[::-1], Image.BICUBIC))
    with config_scope(cfg):
        expected = Compose([dict(step) for step in steps])(
            dict(img=pixels[..., ::-1].copy(), img_shape=size, ori_shape=size))['img'][..., ::-1]
    prepared, used = program.prepare(pixels, preparation(cfg))
    assert prepared.shape == expected.shape and prepared.dtype == np.uint8
    side = max(prepared.shape)
    assert used == (tuple(int(one * side / max(size) + 0.5) for one in size) if steps and steps[-1]['type'] == 'Pad'
                    else prepared.shape[:2])
    # OpenCV counts in fixed point.
    assert np.abs(prepared.astype(int) - expected).max() <= 1


def test_a_fixed_size_that_is_not_the_pipelines_keeps_its_aspect_with_padding(program):
    steps, size = fixed_size([dict(fit=[512, 40])], (64, 96), None)
    assert size == (64, 96)
    prepared, used = program.prepare(np.full((50, 100, 3), 200, np.uint8), steps)
    assert prepared.shape == (64, 96, 3) and used == (48, 96)
    assert (prepared[:48] == 200).all() and not prepared[48:].any()


def test_another_size_is_resized_by_the_same_method():
    steps, _ = fixed_size([dict(method='pillow bicubic'), dict(short_side=37)], (32, 32), None)
    assert steps == [dict(method='pillow bicubic'), dict(letterbox=[32, 32])]


def test_another_size_is_padded_with_the_pipelines_colour(program):
    steps, size = fixed_size([dict(letterbox=[64, 64, 114, 7, 1])], (64, 96), None)
    prepared, _ = program.prepare(np.full((50, 100, 3), 200, np.uint8), steps)
    assert prepared.shape == (*size, 3) == (64, 96, 3)
    assert (prepared[:48] == 200).all() and (prepared[48:] == (114, 7, 1)).all()


@pytest.mark.parametrize('data', sorted(path.stem for path in DATA.glob('[!_]*.py')))
def test_every_data_set_of_ours_can_be_prepared(data):
    preparation(Config.fromfile(DATA / f'{data}.py'))


@pytest.mark.parametrize('steps, size, trained, expected', [
    ([dict(resize=[32, 48])], None, None, [32, 48]),
    ([dict(resize=[32, 48])], (64, 64), None, [64, 64]),
    ([], None, 64, [64, 64]),
    ([], (32, 40), 64, [32, 40]),
])
def test_fixed_sizes(steps, size, trained, expected):
    assert fixed_size(steps, size, trained) == ([dict(resize=expected)], tuple(expected))


def test_what_cannot_be_prepared_is_refused():
    with pytest.raises(InputError, match='RandomFlip'):
        preparation(config('mmdet', dict(type='RandomFlip')))
    for pad in (dict(size=(96, 64)), dict(size=(64, 64), padding_mode='edge'), dict(size_divisor=32)):
        with pytest.raises(InputError, match='Pad to the square'):
            preparation(config('mmdet', dict(type='Resize', scale=(64, 64), keep_ratio=True), dict(type='Pad', **pad)))
    with pytest.raises(InputError, match='Pad to the square'):  # mmseg stretches a mask with its padding
        preparation(config('mmseg', dict(type='Resize', scale=(64, 64), keep_ratio=True),
                           dict(type='Pad', size=(64, 64))))
    with pytest.raises(InputError, match='area'):
        preparation(config('mmdet', dict(type='Resize', scale=(8, 8), interpolation='area')))
    with pytest.raises(InputError, match='--size HEIGHT WIDTH'):
        fixed_size([dict(fit=[512, 40])], None, 64)
    with pytest.raises(InputError, match='cuts images'):
        fixed_size([dict(short_side=37), dict(crop=[32, 32])], (64, 64), None)
