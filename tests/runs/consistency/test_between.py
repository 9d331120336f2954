"""Evaluator against data set, and train against val."""
import json
import shutil

import pytest


def test_evaluator_of_another_file(place, findings, edit):
    path = place / 'data/coco/annotations/val.json'
    other = path.with_name('other.json')

    def check(change):
        document = json.loads(path.read_text())
        change(document)
        other.write_text(json.dumps(document))
        return findings('detection', lambda cfg: cfg.val_evaluator.update(ann_file=str(other)))

    problems, _ = check(lambda document: None)
    assert not problems  # the same content under another name
    for change, word in (
            (lambda d: d['annotations'][0].update(bbox=[0, 0, 20, 20]), '1 annotations of the dataset have'),
            (lambda d: d['annotations'][0].update(category_id=3), 'dataset have another box, class or image'),
            (lambda d: d['images'].append(dict(d['images'][0], id=70, file_name='new.jpg')),
             '1 images are only in the file of the evaluator'),
            (lambda d: d['images'][0].update(file_name='new.jpg'), '1 images have another file name under the same id'),
            (lambda d: d['categories'][0].update(id=8) or [a.update(category_id=8) for a in d['annotations']
                                                           if a['category_id'] == 1], 'classes: 8 red')):
        problems, _ = check(change)
        assert len(problems) == 1 and word in problems[0]
        assert f'val_evaluator judges by {other}, but val_dataloader reads data/coco/annotations/val' in problems[0]
    problems, _ = check(lambda d: d['annotations'][0].update(bbox=[1]))
    assert f'{other}: 1 of 6 entries of "annotations" cannot be used' in problems[0]


def test_evaluator_that_counts_images_that_are_left_out(findings):
    problems, notes = findings('detection', lambda cfg: cfg.val_dataloader.dataset.update(indices=2))
    assert not problems
    assert any('of which val_dataloader leaves out 4: their objects count as missed' in note for note in notes)


def test_evaluator_without_a_file(findings):
    problems, _ = findings('detection', lambda cfg: cfg.val_evaluator.pop('ann_file'))
    assert len(problems) == 1 and 'val_evaluator has no ann_file' in problems[0]


def test_masks_that_the_annotations_lack(findings):
    problems, _ = findings('detection', lambda cfg: cfg.val_evaluator.update(metric=['bbox', 'segm']))
    assert len(problems) == 1 and '6 annotations have no "segmentation"' in problems[0]


@pytest.mark.parametrize('classes, word', [
    (('ground', 'green', 'red', 'blue'), 'in another order'), (('ground', 'red', 'green', 'grey'), 'blue, grey')])
def test_val_with_other_classes_than_train(classes, word, findings):
    def change(cfg):
        cfg.val_dataloader.dataset.metainfo = dict(classes=classes)
    problems, _ = findings('segmentation', change)
    assert len(problems) == 1 and 'are used with different classes' in problems[0] and word in problems[0]


@pytest.mark.parametrize('task, folder', [('classification', 'data/folders/{}/red'), ('detection', 'data/coco/{}')])
def test_copies_of_train_in_val(task, folder, place, findings):
    suffix = 'png' if task == 'classification' else 'jpg'
    shutil.copy(place / folder.format('train') / f'train_0.{suffix}', place / folder.format('val') / f'val_0.{suffix}')
    problems, notes = findings(task)
    assert not problems
    assert sum('1 of the 6 images of val are in train too' in note for note in notes) == 1


def test_val_that_is_train(findings):
    def change(cfg):
        cfg.val_dataloader.dataset.ann_file = 'train.txt'
    notes = findings('segmentation', change)[1]
    assert any('16 of the 16 images of val are in train too' in note for note in notes)


