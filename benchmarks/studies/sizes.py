"""How good a segmentor is on images of other sizes and shapes than those it was trained on."""
import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmcv.transforms import TRANSFORMS
from mmseg.evaluation import IoUMetric
from torch import Tensor, nn

from mobileode_mm.ode import ChannelwiseODESolver


class Size(NamedTuple):
    """How images are brought to a network.

    Attributes:
        short_side: Of the resized image, in pixels; its aspect is kept.
        crop: Height and width that are cut from its middle; None leaves it whole.
        batch_statistics: Images in a batch from which the solvers' inner norms take their statistics, as in
            training; 0 takes the running ones, as in testing. Needs a crop.
    """
    short_side: int
    crop: tuple[int, int] | None = None
    batch_statistics: int = 0


def sizes_around(crop: Sequence[int], short_side: int) -> dict[str, Size]:
    """Sizes to try a segmentor on, by name.

    Args:
        crop: Height and width of the training crops, in pixels.
        short_side: Of the images of its test pipeline.
    """
    height, width = crop
    cut = {f'{h}×{w}{what}': Size(short_side, (h, w)) for h, w, what in (
        (height, width, ', as in training'), (height // 2, width, ''), (height, width // 2, ''))}
    whole = {f'whole, short side {side}': Size(side) for side in (
        short_side * 2 // 3, short_side, short_side * 4 // 3, short_side * 2)}
    batch = {f'{height}×{width}, statistics of batches of 10': Size(short_side, (height, width), 10)}
    return {**cut, **whole, **batch}


@torch.no_grad()
def mean_iou(model: nn.Module, dataset, size: Size) -> float:
    """mIoU of whole inference on a data set's images at one size, in per cent.

    Labels are resized and cut with the images, and compared at that size. Pixels that count for no class (255) are
    left out. The model comes back as it was.

    Args:
        model: An mmseg segmentor.
        dataset: mmseg data set whose pipeline loads ``img`` and ``gt_seg_map`` and no more.
        size: How to bring the images to the network.
    """
    model = copy.deepcopy(model).eval()
    if size.batch_statistics:
        for module in model.modules():
            if isinstance(module, ChannelwiseODESolver):
                module.train()
    step = size.batch_statistics or 1
    areas = 0
    for start in range(0, len(dataset), step):
        images, labels = zip(*(_prepared(dataset[i], size) for i in range(start, min(start + step, len(dataset)))))
        areas = areas + _areas(model, images, labels)
    intersection, union = areas[0], areas[1]
    # A class that neither the labels nor the predictions have says nothing.
    return float((intersection / union)[union > 0].mean() * 100)


def _prepared(sample: dict, size: Size) -> tuple[Tensor, Tensor]:
    """Image (3, H, W) and label map (H, W) at a size."""
    resize = TRANSFORMS.build(dict(type='mmseg.Resize', scale=(10 ** 6, size.short_side), keep_ratio=True))
    sample = resize(sample)
    image, labels = sample['img'], sample['gt_seg_map']
    if size.crop:
        top, left = ((have - want) // 2 for have, want in zip(labels.shape, size.crop))
        cut = slice(top, top + size.crop[0]), slice(left, left + size.crop[1])
        image, labels = image[cut], labels[cut]
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(labels.astype(np.int64))


def _areas(model: nn.Module, images: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
    """Intersection and union of each class, in pixels."""
    inputs = model.data_preprocessor(dict(inputs=list(images)))['inputs']
    logits = model.encode_decode(inputs, [dict(img_shape=tuple(inputs.shape[2:]))] * len(inputs))
    total = 0
    for prediction, truth in zip(logits.argmax(1).cpu(), labels, strict=True):
        found = IoUMetric.intersect_and_union(prediction, truth, model.num_classes, ignore_index=255)
        total = total + torch.stack(found[:2])
    return total
