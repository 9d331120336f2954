"""Batch rules."""
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


def test_a_dropped_last_batch_of_val(findings):
    def change(number):
        return lambda cfg: cfg.val_dataloader.update(batch_size=number, drop_last=True)
    assert any('val_dataloader.drop_last leaves out the last 2 of 6 images' in note
               for note in findings('detection', change(4))[1])
    assert not any('drop_last' in note for note in findings('detection', change(3))[1])
