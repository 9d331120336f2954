"""How good a file, or whatever else computes a whole task, is on data of its config, by the config's own metrics."""

import cv2
import numpy as np
import torch
from mmengine.evaluator import Evaluator

from ..inference.inferencer import Inferencer
from ..runs.checks import config_scope
from .formats import Run, quiet
from .inputs import Images
from .tasks import Normalise
from .tiles import tiled, tiles_of


def accuracy(inferencer: Inferencer, run: Run, images: Images, size: tuple[int, int] | None,
             limit: int | None = None, split: str = 'test') -> dict[str, float]:
    """Metrics of a file on data of a config, by the config's own evaluator.

    Args:
        inferencer: The network's.
        run: The file. Of a detector that sees images tile by tile, it takes one tile.
        images: The data.
        size: Height and width that the file takes; None takes any. Not looked at where images are cut into tiles.
        limit: Measure on that many images, spread evenly over the set.
        split: ``'val'`` or ``'test'``: whose evaluator.
    """
    cfg = inferencer.cfg
    tiles = tiles_of(cfg)
    if tiles:
        mean = Normalise(inferencer.model.data_preprocessor, inferencer.takes_rgb).in_rgb()['mean']
        run, size = tiled(run, tiles, mean), None
    with config_scope(cfg), quiet():
        evaluator = Evaluator(cfg[f'{split}_evaluator'])
        evaluator.dataset_meta = images.dataset.metainfo
        seen: list = []
        indices = images.spaced(limit or len(images))
        for index in indices:
            pixels, sample = images[index]
            seen_by_file, used = images.sized(pixels, size)
            _FILL[inferencer.task](sample, run(seen_by_file[None]), np.divide(used, pixels.shape[:2]), used)
            evaluator.process(data_samples=[sample], data_batch=None)
            seen.append(sample.metainfo.get('img_id'))
        for metric in evaluator.metrics:
            if limit and hasattr(metric, 'img_ids'):
                metric.img_ids = seen  # COCO's counts what is on images that were not looked at as missed
        return evaluator.evaluate(len(indices))


# Each takes a data sample, the outputs, by what height and width of the prepared image were resized for the file, and
# height and width of the part of the file's image that is no padding.

def _fill_classification(sample, outputs: list[np.ndarray], *_) -> None:
    scores = torch.from_numpy(outputs[0][0])
    sample.set_pred_score(scores).set_pred_label(scores.argmax())


def _fill_segmentation(sample, outputs: list[np.ndarray], _, used: tuple[int, int]) -> None:
    from mmengine.structures import PixelData
    height, width = sample.ori_shape
    mask = cv2.resize(outputs[0][0][:used[0], :used[1]], (width, height), interpolation=cv2.INTER_NEAREST)
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(mask)[None].long())


def _fill_detection(sample, outputs: list[np.ndarray], resized: np.ndarray, _) -> None:
    from mmengine.structures import InstanceData
    boxes, scores, labels = (torch.from_numpy(output[0]) for output in outputs)
    kept = scores > 0
    scale = torch.tensor([float(one * by) for one, by in zip(sample.scale_factor, resized[::-1])]).repeat(2)
    sample.pred_instances = InstanceData(bboxes=boxes[kept] / scale, scores=scores[kept], labels=labels[kept])


_FILL = dict(classification=_fill_classification, segmentation=_fill_segmentation, detection=_fill_detection)
