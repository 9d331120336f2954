"""Figures on draws of the test images: those of each image once are the metric's own."""
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from benchmarks.suites.resampling import (
    SAMPLES,
    ResampledAccuracy,
    ResampledBoxes,
    ResampledIoU,
    draws,
    packed,
    resampling_options,
    unpacked,
)

CLASSES = ('red', 'green', 'blue')


def once(images):
    return np.ones((1, images), int)


def test_draws_are_of_as_many_images_and_always_the_same():
    counts = draws(7)
    assert counts.shape == (SAMPLES, 7) and (counts.sum(1) == 7).all()
    assert np.array_equal(counts, draws(7))
    assert counts.mean(0) == pytest.approx(1, abs=0.15)


def test_a_results_file_has_room_for_the_draws():
    values = np.random.default_rng(0).uniform(0, 100, SAMPLES)
    text = packed([0, 100, *values])
    assert len(text) < 3 * SAMPLES and unpacked(text)[:2].tolist() == [0, 100]
    assert unpacked(text)[2:] == pytest.approx(values, abs=1 / 1200 + 1e-9)


def test_accuracy(tmp_path):
    metric = ResampledAccuracy(str(tmp_path / 'out.json'))
    samples = [dict(pred_score=torch.tensor(score), gt_label=torch.tensor([label]))
               for score, label in (([.9, .1], 0), ([.2, .8], 0), ([.3, .7], 1), ([.6, .4], 0))]
    metric.process({}, samples)
    assert metric.figures(metric.results, np.array([[1, 1, 1, 1], [0, 4, 0, 0], [2, 1, 1, 0]])
                          )['accuracy/top1'].tolist() == [75, 0, 75]
    assert metric.evaluate(4) == {}
    written = json.loads((tmp_path / 'out.json').read_text())['accuracy/top1']
    assert len(written) == SAMPLES and np.mean(written) == pytest.approx(75, abs=3)


def test_iou_is_mmsegs():
    from mmseg.evaluation import IoUMetric
    rng = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(5):
        truth = torch.randint(0, 4, (1, 12, 9), generator=rng)
        truth[0, 0] = 255
        found = torch.where(torch.rand(truth.shape, generator=rng) < .6, truth.clamp(max=3), 0)
        samples.append(dict(pred_sem_seg=dict(data=found), gt_sem_seg=dict(data=truth)))
    ours, theirs = ResampledIoU(255, 'unused'), IoUMetric()
    for metric in (ours, theirs):
        metric.dataset_meta = dict(classes=('ground', *CLASSES))
        metric.process({}, samples)
    # mmseg rounds to two digits.
    assert ours.figures(ours.results, once(5))['mIoU'] == pytest.approx(theirs.evaluate(5)['mIoU'], abs=0.006)


@pytest.fixture
def boxes(shared_place):
    """Predictions for COCO data of six images: right ones, shifted ones, doubled ones, of wrong classes, none."""
    path = shared_place / 'data/coco/annotations/val.json'
    content = json.loads(path.read_text())
    rng, samples = np.random.default_rng(0), []
    for image in content['images']:
        found = []
        for annotation in content['annotations']:
            if annotation['image_id'] == image['id'] and image['id'] != 4:
                x, y, w, h = annotation['bbox']
                for shift in rng.normal(0, 3, 4):
                    label = annotation['category_id'] - 1 if rng.random() < .8 else int(rng.integers(3))
                    found.append(([x + shift, y, x + w, y + h - shift], rng.random(), label))
        samples.append(dict(
            img_id=image['id'], ori_shape=(64, 64), pred_instances=dict(
                bboxes=torch.tensor([box for box, *_ in found], dtype=torch.float32).reshape(-1, 4),
                scores=torch.tensor([score for _, score, _ in found], dtype=torch.float32),
                labels=torch.tensor([label for *_, label in found], dtype=torch.long))))
    return str(path), samples


def test_boxes_are_cocos(boxes):
    from mmdet.evaluation import CocoMetric

    from mobileode_mm.detection.annotations import filled_annotations
    path, samples = boxes
    with filled_annotations():  # as every test of ours reads them; one has the id 0
        ours, theirs = ResampledBoxes(path, 'unused'), CocoMetric(ann_file=path)
    for metric in (ours, theirs):
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, samples)
    found, wanted = ours.figures(ours.results, once(6)), theirs.evaluate(6)
    # mmdet rounds to three digits.
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(
        {name: wanted[name] for name in ('coco/bbox_mAP', 'coco/bbox_mAP_50')}, abs=0.0006)
    assert 0 < found['coco/bbox_mAP'][0] < found['coco/bbox_mAP_50'][0] < 1


def test_an_image_that_counts_twice_is_as_two_images(boxes, tmp_path):
    path, samples = boxes
    content = json.loads(open(path).read())
    again = {1: 11, 2: 12}
    content['images'] += [dict(image, id=again[image['id']]) for image in content['images'] if image['id'] in again]
    content['annotations'] += [dict(annotation, id=100 + annotation['id'], image_id=again[annotation['image_id']])
                               for annotation in content['annotations'] if annotation['image_id'] in again]
    content['images'] = [image for image in content['images'] if image['id'] != 0]
    (tmp_path / 'again.json').write_text(json.dumps(content))
    twice = samples[1:] + [dict(sample, img_id=again[sample['img_id']]) for sample in samples[1:3]]
    figures = []
    for file, own, counts in ((path, samples, np.array([[0, 2, 2, 1, 1, 1]])),
                              (tmp_path / 'again.json', twice, once(7))):
        metric = ResampledBoxes(str(file), 'unused')
        metric.dataset_meta = dict(classes=CLASSES)
        metric.process({}, own)
        figures.append(metric.figures(metric.results, counts))
    for name in figures[0]:
        assert figures[0][name] == pytest.approx(figures[1][name])


def test_known_evaluators_alone(tmp_path):
    def options(evaluator):
        return resampling_options(Config(dict(test_evaluator=evaluator)), tmp_path / 'out.json')

    coco = dict(type='CocoMetric', ann_file='val.json')
    assert [evaluator['type'] for evaluator in options(coco)['test_evaluator']] == ['CocoMetric', 'ResampledBoxes']
    assert options([coco])['test_evaluator'][1] == dict(
        type='ResampledBoxes', ann_file='val.json', out=str(tmp_path / 'out.json'))
    assert options(dict(coco, metric=['bbox', 'segm'])) == {} == options(dict(type='VOCMetric'))
    assert options(dict(type='IoUMetric'))['test_evaluator'][1]['ignore_index'] == 255
