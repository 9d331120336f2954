"""How good a trained network is on images whose labels are known: figures, and the images that it is worst on."""
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import NamedTuple

import numpy as np

from ..data.formats import Image
from ..data.formats.masks import read_labels
from ..data.label_maps import VOID
from ..inference.inferencer import Inferencer

#: From this IoU on a box is found.
_FOUND = 0.5
_NO_CLASS = 'nothing'


class Judgement(NamedTuple):
    """What a network does on a split.

    Attributes:
        metrics: Figures for the headline, by name.
        by_class: By class: figures, by name.
        curves: Of detection, by class: recall and precision at IoU 0.5.
        confusion: (true, predicted), counts; of detection the last row and column are "nothing".
        names: Of the rows and columns of ``confusion``.
        worst: Indices of the images with the most faults, the worst first, and what is wrong with each.
        predictions: Of each image.
        threshold: Of detection: the score at which precision and recall are best together (F1).
        milliseconds: Of each image, from its pixels to the prediction.
    """
    metrics: dict[str, float]
    by_class: dict[str, dict[str, float]]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    confusion: np.ndarray
    names: list[str]
    worst: list[tuple[int, str]]
    predictions: list
    threshold: float
    milliseconds: list[float]

    @property
    def quartiles(self) -> list[float]:
        """Of the milliseconds: the lower one, the median, the upper one."""
        return np.quantile(self.milliseconds, (0.25, 0.5, 0.75)).tolist()


def judge(inferencer: Inferencer, images: Sequence[Image]) -> Judgement:
    """Predict on all images, one by one, and compare."""
    predictions, milliseconds = [], []
    for image in images:
        pixels = inferencer.read_or_refuse(image.path)
        start = time.perf_counter()
        predictions += inferencer.predict([pixels])
        milliseconds.append(1000 * (time.perf_counter() - start))
    rest = dict(detection=_detection, segmentation=_segmentation, classification=_classification)[inferencer.task](
        inferencer.classes, images, predictions)
    return Judgement(**rest, predictions=predictions, milliseconds=milliseconds)


def _detection(classes: Sequence[str], images: Sequence[Image], predictions: list) -> dict:
    precision, metrics, by_class = _coco(classes, images, predictions)
    recalls = np.linspace(0, 1, precision.shape[0])
    curves = {name: (recalls, precision[:, number]) for number, name in enumerate(classes)
              if (precision[:, number] > -1).any()}
    threshold = _best_threshold(images, predictions)
    confusion = np.zeros((len(classes) + 1, len(classes) + 1), int)
    faults = []
    for number, (image, found) in enumerate(zip(images, predictions)):
        sure = found.scores >= threshold
        pairs, missed, false = _match(image, found.bboxes[sure], found.labels[sure])
        for true, predicted in pairs:
            confusion[image.labels[true], found.labels[sure][predicted]] += 1
        for true in missed:
            confusion[image.labels[true], -1] += 1
        for predicted in false:
            confusion[-1, found.labels[sure][predicted]] += 1
        mixed = sum(image.labels[true] != found.labels[sure][predicted] for true, predicted in pairs)
        faults.append((len(missed) + len(false) + mixed, number,
                       f'{len(missed)} missed, {len(false)} false, {mixed} of another class'))
    return dict(metrics=metrics, by_class=by_class, curves=curves, confusion=confusion,
                names=[*classes, _NO_CLASS], worst=_worst(faults), threshold=threshold)


def _coco(classes: Sequence[str], images: Sequence[Image], predictions: list) -> tuple[np.ndarray, dict, dict]:
    """Precision at IoU 0.5 (recall, class), and COCO's figures, overall and by class."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    truth, found = [], []
    for number, (image, prediction) in enumerate(zip(images, predictions), 1):
        for box, label, crowd in zip(image.boxes, image.labels, image.crowd):
            sides = (box[2:] - box[:2]).tolist()
            truth.append(dict(id=len(truth) + 1, image_id=number, category_id=int(label) + 1, iscrowd=int(crowd),
                              bbox=[*box[:2].tolist(), *sides], area=sides[0] * sides[1]))
        for box, label, score in zip(prediction.bboxes.astype(float), prediction.labels, prediction.scores):
            found.append(dict(image_id=number, category_id=int(label) + 1, score=float(score),
                              bbox=[*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]))
    with redirect_stdout(StringIO()):
        coco = COCO()
        coco.dataset = dict(images=[dict(id=number) for number in range(1, len(images) + 1)], annotations=truth,
                            categories=[dict(id=number, name=name) for number, name in enumerate(classes, 1)])
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found) if found else COCO(), 'bbox')
        if not found:
            evaluation.cocoDt.dataset = dict(coco.dataset, annotations=[])
            evaluation.cocoDt.createIndex()
        # As mmdet's CocoMetric counts: up to 1,000 boxes an image.
        evaluation.params.maxDets = [100, 300, 1000]
        evaluation.evaluate()
        evaluation.accumulate()
    # (IoU, recall, class, area, number of boxes); -1 where there is no such box.
    precision = evaluation.eval['precision']

    def mean(part: np.ndarray) -> float:
        return float(part[part > -1].mean()) if (part > -1).any() else float('nan')

    metrics = dict(AP=mean(precision[..., 0, -1]), AP50=mean(precision[0, ..., 0, -1]),
                   AP75=mean(precision[5, ..., 0, -1]), **{
                       f'AP {size}': mean(precision[..., area, -1])
                       for area, size in enumerate(('small', 'medium', 'large'), 1)})
    counts = np.bincount([entry['category_id'] - 1 for entry in truth], minlength=len(classes))
    by_class = {name: dict(boxes=int(counts[number]), AP=mean(precision[:, :, number, 0, -1]),
                           AP50=mean(precision[0, :, number, 0, -1])) for number, name in enumerate(classes)}
    return precision[0, :, :, 0, -1], metrics, by_class


def _best_threshold(images: Sequence[Image], predictions: list) -> float:
    """The score with the largest F1, of a class with its class, over all boxes."""
    right, scores, total = [], [], 0
    for image, found in zip(images, predictions):
        total += int((~image.crowd).sum())
        pairs, _, _ = _match(image, found.bboxes, found.labels, by_class=True)
        hits = np.zeros(len(found.scores), bool)
        hits[[predicted for _, predicted in pairs]] = True
        right.append(hits)
        scores.append(found.scores)
    if not total or not sum(map(len, scores)):
        return 0.3
    order = np.argsort(-np.concatenate(scores), kind='stable')
    hits = np.concatenate(right)[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + total)
    return float(np.concatenate(scores)[order][f1.argmax()])


def _match(image: Image, boxes: np.ndarray, labels: np.ndarray,
           by_class: bool = False) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs (true, predicted) of boxes, the surest prediction first; true ones that are missed; false predictions.

    A prediction on a box that evaluation ignores is neither.
    """
    overlaps = _overlaps(image.boxes, boxes)
    free = np.ones(len(image.boxes), bool)
    pairs, false = [], []
    for predicted in range(len(boxes)):
        allowed = (image.labels == labels[predicted]) if by_class else np.ones(len(image.boxes), bool)
        candidates = np.where(allowed & free & ~image.crowd, overlaps[:, predicted], 0)
        if len(candidates) and candidates.max() >= _FOUND:
            true = int(candidates.argmax())
            free[true] = False
            pairs.append((true, predicted))
        elif not (overlaps[image.crowd, predicted] >= _FOUND).any():
            false.append(predicted)
    return pairs, np.flatnonzero(free & ~image.crowd).tolist(), false


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 4) and (M, 4): (N, M)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inner = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) for boxes in (first, second)]
    return inner / np.maximum(areas[0][:, None] + areas[1][None] - inner, 1e-9)


def _classification(classes: Sequence[str], images: Sequence[Image], predictions: list) -> dict:
    confusion = np.zeros((len(classes), len(classes)), int)
    faults = []
    for number, (image, found) in enumerate(zip(images, predictions)):
        true = int(image.labels[0])
        confusion[true, found.label] += 1
        if found.label != true:
            faults.append((float(found.scores[found.label]), number,
                           f'{classes[true]} taken for {classes[found.label]} ({found.scores[found.label]:.2f})'))
    right = confusion.diagonal()
    by_class = {name: dict(images=int(confusion[number].sum()),
                           recall=_share(right[number], confusion[number].sum()),
                           precision=_share(right[number], confusion[:, number].sum()))
                for number, name in enumerate(classes)}
    return dict(metrics={'top-1': _share(right.sum(), confusion.sum())}, by_class=by_class, curves={},
                confusion=confusion, names=list(classes), worst=_worst(faults), threshold=0.)


def _segmentation(classes: Sequence[str], images: Sequence[Image], predictions: list) -> dict:
    confusion = np.zeros((len(classes), len(classes)), int)
    faults = []
    for number, (image, found) in enumerate(zip(images, predictions)):
        true = read_labels(image)
        counted = true != VOID
        here = np.bincount(true[counted] * len(classes) + found.labels[counted], minlength=len(classes) ** 2)
        confusion += here.reshape(confusion.shape)
        wrong = _share(counted.sum() - here.reshape(confusion.shape).trace(), counted.sum())
        faults.append((wrong, number, f'{wrong:.1%} of the pixels wrong'))
    joined = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    overlaps = [_share(hit, whole) for hit, whole in zip(confusion.diagonal(), joined)]
    by_class = {name: dict(pixels=int(confusion[number].sum()), IoU=overlaps[number])
                for number, name in enumerate(classes)}
    return dict(metrics={'mIoU': float(np.nanmean(overlaps)),
                         'pixel accuracy': _share(confusion.trace(), confusion.sum())},
                by_class=by_class, curves={}, confusion=confusion, names=list(classes), worst=_worst(faults),
                threshold=0.)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float('nan')


def _worst(faults: list[tuple[float, int, str]], most: int = 12) -> list[tuple[int, str]]:
    return [(number, words) for badness, number, words in sorted(faults, key=lambda fault: -fault[0])[:most] if badness]
