"""A test's figures on other samples of its images: what tells how far they depend on the images.

Beside the metric itself a test writes what it would be on :data:`SAMPLES` draws of as many images with replacement. The
draws follow from the number of images alone, so that networks can be compared draw by draw.
"""
import base64
import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..output import write_json

SAMPLES = 1000
#: Boxes an image that mmdet's CocoMetric counts for each of its figures, and whether that is of IoU 0.5 alone.
_COCO = {'coco/bbox_mAP': (100, False), 'coco/bbox_mAP_50': (1000, True)}
_RECALLS = np.linspace(0, 1, 101)
#: Of a per cent, that two bytes tell apart.
_STEPS = 600


def resampling_options(cfg: Config, path: Path) -> dict:
    """Options that let a test write its resampled figures into a file; none for metrics that are not known here.

    Known are mmdet's CocoMetric of boxes, mmseg's IoUMetric and mmpretrain's Accuracy, on all of their images.
    """
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, (list, tuple)) else [cfg.test_evaluator]
    for evaluator in evaluators:
        extra = None
        if evaluator.type == 'CocoMetric' and evaluator.get('metric', 'bbox') in ('bbox', ['bbox']):
            extra = dict(type='ResampledBoxes', ann_file=evaluator.ann_file)
        elif evaluator.type == 'IoUMetric':
            extra = dict(type='ResampledIoU', ignore_index=evaluator.get('ignore_index', 255))
        elif evaluator.type == 'Accuracy':
            extra = dict(type='ResampledAccuracy')
        if extra:
            return {'test_evaluator': [*evaluators, dict(extra, out=str(path))]}
    return {}


def draws(images: int) -> np.ndarray:
    """How often each of ``images`` images is in each draw: (:data:`SAMPLES`, ``images``)."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), SAMPLES)


def packed(figures: Sequence[float]) -> str:
    """Figures of the draws, in per cent, as text that a results file has room for; see :func:`unpacked`."""
    return base64.b64encode(np.round(np.asarray(figures, float) * _STEPS).astype('<u2')).decode()


def unpacked(text: str) -> np.ndarray:
    """What :func:`packed` was given, to 1/1200 of a per cent."""
    return np.frombuffer(base64.b64decode(text), '<u2') / _STEPS


class Resampled(BaseMetric):
    """Writes resampled figures, and gives the evaluator none.

    Args:
        out: The JSON file: a list of figures by the name of the metric.
    """

    default_prefix = 'resampled'

    def __init__(self, out: str):
        super().__init__()
        self.out = Path(out)

    def compute_metrics(self, results: list) -> dict:
        """Write the file."""
        figures = self.figures(results, draws(len(results)))
        write_json(self.out, {name: [round(float(value), 5) for value in values] for name, values in figures.items()})
        return {}

    def figures(self, results: list, counts: np.ndarray) -> dict[str, np.ndarray]:
        """By metric the figure for each row of ``counts``: how often each image is in it."""
        raise NotImplementedError


@METRICS.register_module()
class ResampledAccuracy(Resampled):
    """Top-1 accuracy in per cent."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep for each image whether its class was found."""
        self.results += [int(sample['pred_score'].argmax()) == int(sample['gt_label']) for sample in data_samples]

    def figures(self, results: list, counts: np.ndarray) -> dict[str, np.ndarray]:
        """As in :class:`Resampled`."""
        return {'accuracy/top1': 100 * (counts @ np.array(results, float)) / len(results)}


@METRICS.register_module()
class ResampledIoU(Resampled):
    """Mean IoU in per cent.

    Args:
        ignore_index: Label that does not count.
        out: As for :class:`Resampled`.
    """

    def __init__(self, ignore_index: int, out: str):
        super().__init__(out)
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep for each image intersection and union of each class."""
        from mmseg.evaluation import IoUMetric
        classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            found = sample['pred_sem_seg']['data'].squeeze()
            wanted = sample['gt_sem_seg']['data'].squeeze().to(found)
            both, either, *_ = IoUMetric.intersect_and_union(found, wanted, classes, self.ignore_index)
            self.results.append((both.numpy(), either.numpy()))

    def figures(self, results: list, counts: np.ndarray) -> dict[str, np.ndarray]:
        """As in :class:`Resampled`."""
        both, either = (counts @ np.array(arrays, float) for arrays in zip(*results))
        with np.errstate(invalid='ignore'):
            return {'mIoU': 100 * np.nanmean(both / either, 1)}  # a class that no image of a draw has does not count


@METRICS.register_module()
class ResampledBoxes(Resampled):
    """COCO's AP and AP50 of boxes.

    Args:
        ann_file: COCO's annotations.
        out: As for :class:`Resampled`.
    """

    def __init__(self, ann_file: str, out: str):
        super().__init__(out)
        self.ann_file = ann_file

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the boxes of each image: x, y, width, height; scores; labels."""
        for sample in data_samples:
            found = sample['pred_instances']
            boxes = found['bboxes'].cpu().numpy().copy()
            boxes[:, 2:] -= boxes[:, :2]
            self.results.append((sample['img_id'], boxes, found['scores'].cpu().numpy(), found['labels'].cpu().numpy()))

    def figures(self, results: list, counts: np.ndarray) -> dict[str, np.ndarray]:
        """As in :class:`Resampled`; empty where nothing is found, as CocoMetric's."""
        from pycocotools.cocoeval import COCOeval

        from mobileode_mm.detection.annotations import FilledCOCO
        with contextlib.redirect_stdout(io.StringIO()):
            truth = FilledCOCO(self.ann_file)
        categories = truth.get_cat_ids(cat_names=self.dataset_meta['classes'])
        entries = [dict(image_id=image, bbox=box.tolist(), score=float(score), category_id=categories[label])
                   for image, *found in results for box, score, label in zip(*found)]
        if not entries:
            return {}
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(truth, truth.loadRes(entries), 'bbox')
            params = evaluation.params
            params.catIds, params.imgIds = categories, [image for image, *_ in results]
            params.maxDets = [max(most for most, _ in _COCO.values())]
            params.areaRng, params.areaRngLbl = [[0, 1e10]], ['all']
            evaluation.evaluate()
        # evaluate() sorts the images; draws count them in the order of the test.
        place = {image: number for number, (image, *_) in enumerate(results)}
        counts = counts[:, [place[image] for image in params.imgIds]]
        images = len(params.imgIds)
        classes = [evaluation.evalImgs[start:start + images] for start in range(0, len(evaluation.evalImgs), images)]
        return {name: np.nanmean([average_precisions(own, counts, *how) for own in classes], 0)
                for name, how in _COCO.items()}


def average_precisions(images: Sequence[dict | None], counts: np.ndarray, most: int, coarse: bool) -> np.ndarray:
    """AP of one class as COCOeval accumulates it, for each row of ``counts``; NaN where no image of a row has objects.

    Args:
        images: Of ``COCOeval.evalImgs``; None where an image has neither objects nor boxes of the class.
        counts: How often each image counts, (draws, images).
        most: Boxes of an image that count.
        coarse: At IoU 0.5 alone, the first of the thresholds.
    """
    levels = slice(0, 1 if coarse else None)
    parts, objects = [], np.zeros(len(images), int)
    for number, image in enumerate(images):
        if image is None:
            continue
        objects[number] = np.count_nonzero(np.asarray(image['gtIgnore']) == 0)
        scores = np.array(image['dtScores'][:most], float)
        ignored = image['dtIgnore'][levels, :most].astype(bool)
        right = image['dtMatches'][levels, :most] > 0
        parts.append((scores, np.full(len(scores), number), right & ~ignored, ~right & ~ignored))
    wanted = counts @ objects
    if not parts or not sum(len(part[0]) for part in parts):
        return np.where(wanted > 0, 0., np.nan)
    scores, image_of, right, wrong = (np.concatenate(arrays, -1) for arrays in zip(*parts))
    order = np.argsort(-scores, kind='mergesort')
    image_of, right, wrong = image_of[order], right[:, order], wrong[:, order]
    result = np.full(len(counts), np.nan)
    for row in np.flatnonzero(wanted):
        weights = counts[row, image_of]
        found, false = np.cumsum(weights * right, 1), np.cumsum(weights * wrong, 1)
        precision = found / (found + false + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        means = []
        for recall, own in zip(found / wanted[row], precision):
            index = np.searchsorted(recall, _RECALLS, 'left')
            means.append(np.append(own, 0)[index].mean())
        result[row] = np.mean(means)
    return result
