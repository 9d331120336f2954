"""Batch rules."""
import re

import numpy as np
import pytest
from PIL import Image

#: A head that pools each image to 1x1 and normalises there.
POOLING = dict(
    type='ASPPHead', in_channels=32, in_index=0, channels=16, dilations=(1, 2), dropout_ratio=0., num_classes=4,
    norm_cfg=dict(type='SyncBN'))


def pooling(**settings):
    def change(cfg):
        cfg.model.decode_head = POOLING
        cfg.train_dataloader.update(settings)
    return change


@pytest.mark.parametrize('settings, word', [
    (dict(batch_size=5), '16 images in batches of 5 leave a last batch of one image'),
    (dict(batch_size=1), 'train_dataloader.batch_size is 1'), (dict(batch_size=1, drop_last=True), 'batch_size is 1')])
def test_a_batch_of_one(settings, word, findings):
    problems, _ = findings('segmentation', pooling(**settings), model=True)
    assert len(problems) == 1 and word in problems[0]
    assert ('batch_size to 2 or more' if settings['batch_size'] == 1 else 'drop_last=True') in problems[0]


@pytest.mark.parametrize('settings', [
    dict(batch_size=5, drop_last=True), dict(batch_size=4), dict(batch_size=5, sampler=dict(type='InfiniteSampler'))])
def test_batches_that_a_pooling_head_takes(settings, findings):
    assert not findings('segmentation', pooling(**settings), model=True)[0]


@pytest.mark.parametrize('task', ['segmentation', 'classification', 'detection'])
def test_a_batch_of_one_for_a_network_that_takes_it(task, findings):
    assert not findings(task, lambda cfg: cfg.train_dataloader.update(batch_size=5), model=True)[0]


def test_repeated_images_count(findings):
    def change(cfg):
        pooling(batch_size=5)(cfg)
        cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=5, dataset=cfg.train_dataloader.dataset)
    assert not findings('segmentation', change, model=True)[0]


@pytest.mark.parametrize('task, folder', [('segmentation', 'voc/JPEGImages'), ('classification', 'folders/val/red')])
def test_images_of_several_sizes_in_a_val_batch(task, folder, place, findings):
    name = f'val_0.{"jpg" if task == "segmentation" else "png"}'
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(place / 'data' / folder / name)
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(place / 'data/voc/SegmentationClass/val_0.png')
    problems, _ = findings(task, model=True)
    assert len(problems) == 1 and 'val_dataloader.batch_size is 4' in problems[0]
    assert 'its pipeline makes images of several sizes (50x40, 64x64), which cannot be one batch' in problems[0]
    assert not findings(task, lambda cfg: cfg.val_dataloader.update(batch_size=1), model=True)[0]

    def resized(cfg):
        cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(64, 64), keep_ratio=False))
    assert not findings(task, resized, model=True)[0]


def test_images_that_are_normalised_twice(findings):
    def change(cfg):
        cfg.val_dataloader.dataset.pipeline.insert(-1, dict(type='Normalize', mean=[127.] * 3, std=[64.] * 3))
    assert any('val_dataloader: the pipeline has Normalize, and data_preprocessor' in note
               for note in findings('detection', change, model=True)[1])

    def once(cfg):
        change(cfg)
        cfg.model.data_preprocessor.update(mean=None, std=None)
    assert not any('Normalize' in note for note in findings('detection', once, model=True)[1])


def test_images_that_are_normalised_by_another_scale(findings):
    def scale(mean, std):
        return lambda cfg: cfg.model.data_preprocessor.update(mean=mean, std=std)
    notes = findings('classification', scale([.485, .456, .406], [.229, .224, .225]), model=True)[1]
    assert any(re.search(r'train_dataloader gives images of 0 to 255, .* std of \[0.229, .* of up to 1138.* set mean '
                         r'to \[123.675, 116.28, 103.53\] and std to \[58.395, 57.12, 57.375\]', note, re.DOTALL)
               for note in notes), notes
    for mean, std in ((None, None), ([0.] * 3, [1.] * 3), ([0.] * 3, [255.] * 3)):
        assert not any('0 to 255' in note for note in findings('classification', scale(mean, std), model=True)[1])
