"""Pipeline rules."""
import re

import pytest


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


@pytest.mark.parametrize('step, by_chance', [
    (dict(type='RandomFlip', prob=0.5), True), (dict(type='PhotoMetricDistortion'), True),
    (dict(type='RandomFlip', prob=0), False), (dict(type='Resize', scale=(64, 64)), False)])
def test_steps_by_chance_in_a_validation(step, by_chance, findings):
    def change(cfg):
        cfg.val_dataloader.dataset.pipeline.insert(1, step)
    told = any(f'the pipeline of val_dataloader changes images by chance ({step["type"]})' in note
               for note in findings('segmentation', change)[1])
    assert told == by_chance
