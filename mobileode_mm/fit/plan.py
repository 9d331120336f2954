"""What is trained on a data set, and how: each choice with its reason."""
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..data.formats import Image
from ..errors import InputError
from . import anchors
from .models import check_model

#: Side of the network's input, in pixels.
DETECTION_SIDE, CLASSIFICATION_SIDE, SEGMENTATION_SIDE = 320, 224, 320
#: A box of this side, in the network's pixels, is found with difficulty; images are tiled or enlarged before that.
SMALL = 24
#: Side of a tile in sides of the median box, and its bounds in pixels of the network.
_AROUND, _TILES = 5, (192, DETECTION_SIDE)
#: Share of the boxes that anchors have to reach before a map of stride 8 is left out.
ENOUGH_REACHED = 0.98
#: Stride of the first of SSDLite's maps, and their number: each halves the one before, the last is the mean of all.
_FINEST, _MAPS = {True: 8, False: 16}, 6
#: Iterations of a training of the default length, and bounds on its epochs.
_ITERATIONS, _LEAST_EPOCHS, _MOST_EPOCHS = 1500, 12, 300
#: By which epochs are compared. Of detectors not AP: how closely boxes were drawn by hand differs from image to image.
METRICS = dict(detection='coco/bbox_mAP_50', segmentation='mIoU', classification='accuracy/top1')
#: Iterations and tiles from which on mosaics of tiles are learnt from: on the tree photographs a training of 528 was
#: behind with them (AP50 on other sites 0.244 for 0.290), one of 1518 ahead (0.347 for 0.319; seed 0, one run each).
_MOSAIC_ITERATIONS, _MOSAIC_TILES = 1000, 64
#: Memory of a training step for an image of 320 px, in bytes, V1 with SSDLite, and the share of the free memory to use.
_BYTES_AN_IMAGE, _SHARE = 160e6, 0.5
#: Where Linux tells a container how much memory it may take (control groups, versions 2 and 1); 'max' is no limit.
_LIMITS = ('/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes')


class Choice(NamedTuple):
    """A decision: what, how, and why."""
    name: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f'{self.name}: {self.value} ({self.reason})'


class Tiling(NamedTuple):
    """How large images are seen.

    Attributes:
        side: Of a tile, in pixels of the image.
        scale: What tiles are enlarged by.
        overlap: What tiles share, in the network's pixels.
    """
    side: int
    scale: int
    overlap: int


@dataclass
class Plan:
    """The choices for a training; those of other tasks stay None."""
    task: str
    classes: tuple[str, ...]
    model: str
    side: int
    tiling: Tiling | None = None
    fine: bool = False
    mosaic: bool = False
    anchors: dict | None = None
    batch: int = 16
    epochs: int = 0
    val_interval: int = 1
    choices: list[Choice] = field(default_factory=list)

    def choose(self, name: str, value: object, reason: str) -> None:
        self.choices.append(Choice(name, str(value), reason))


def plan_detection(images: Sequence[Image], classes: tuple[str, ...], model: str, side: int | None) -> Plan:
    """Input size, tiling: what has to be known before tiles can be cut."""
    plan = Plan('detection', classes, model, side or DETECTION_SIDE)
    _choose_network(plan, 'SSDLite')
    boxes = np.concatenate([image.boxes for image in images])
    if not len(boxes):
        raise InputError('no image has a box: there is nothing to train on')
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1))
    median, longest = float(np.median(sides)), float(np.median([max(image.size) for image in images]))
    shrunk = median * plan.side / longest
    if longest > 1.5 * plan.side and shrunk < SMALL:
        reason = (f'half of the boxes are under {median:.0f} px in images of {longest:.0f} px: shrunk to {plan.side} '
                  f'px they would be under {shrunk:.0f} px')
        scale = 2 if median < SMALL else 1
        if side is None:
            # Training costs by the pixel: of the tiles that show what is around an object, the smallest.
            plan.side = int(np.clip(round(_AROUND * median * scale / 32) * 32, *_TILES))
        overlap = int(min(plan.side // 2, np.quantile(sides, 0.95) * scale))
        plan.tiling = Tiling(plan.side // scale, scale, overlap)
        plan.choose('tiles', f'{plan.tiling.side} px of the image, {plan.side} px of the network', reason)
    else:
        plan.choose('images', f'shrunk to {plan.side} px', f'the median box is {shrunk:.0f} px there')
    return plan


def plan_classification(images: Sequence[Image], classes: tuple[str, ...], model: str, side: int | None) -> Plan:
    """Input size of a classifier."""
    plan = Plan('classification', classes, model, side or CLASSIFICATION_SIDE)
    _choose_network(plan, 'classifier')
    shortest = float(np.median([min(image.size) for image in images]))
    if side is None and shortest < CLASSIFICATION_SIDE:
        plan.side = max(32, round(shortest / 32) * 32)
    plan.choose('images', f'shrunk and cut to {plan.side} px', f'their shorter side is {shortest:.0f} px')
    return plan


def plan_segmentation(images: Sequence[Image], classes: tuple[str, ...], model: str, side: int | None) -> Plan:
    """Crop size of a segmentor."""
    plan = Plan('segmentation', classes, model, side or SEGMENTATION_SIDE)
    _choose_network(plan, 'DeepLabV3 at output stride 16')
    shortest = float(np.median([min(image.size) for image in images]))
    if side is None and shortest < SEGMENTATION_SIDE:
        plan.side = max(64, round(shortest / 32) * 32)
    plan.choose('images', f'shorter side {plan.side} px, crops of {plan.side} px',
                f'their shorter side is {shortest:.0f} px')
    return plan


def fit_head(plan: Plan, images: Sequence[Image]) -> None:
    """Maps and anchors for the boxes of images that are the network's input, but for their size."""
    boxes = np.concatenate([image.boxes * _to_input(image, plan) for image in images])
    size = (plan.side, plan.side)
    strides = {fine: _strides(plan.side, fine) for fine in (False, True)}
    fitted = {fine: anchors.fit(boxes, strides[fine], size) for fine in (False, True)}
    share = {fine: anchors.reached(boxes, fitted[fine], size) for fine in (False, True)}
    plan.fine = share[False] < ENOUGH_REACHED and share[True] > share[False]
    plan.anchors = fitted[plan.fine]
    plan.choose('finest map', f'stride {8 if plan.fine else 16}',
                f'with anchors fitted to the data, {1 - share[False]:.1%} of the boxes have no anchor of IoU 0.5 from '
                f'stride 16 on, {1 - share[True]:.1%} from stride 8 on')


def set_length(plan: Plan, number: int, epochs: int | None, batch: int | None) -> None:
    """Batch size and epochs for a number of training images."""
    fits = int(_free_memory() * _SHARE / (_BYTES_AN_IMAGE * (plan.side / 320) ** 2))
    plan.batch = batch or max(2, min(16, fits, number // 4))
    plan.choose('batch', plan.batch, 'asked for' if batch else
                '16 are enough for the norms; fewer where memory or data are small')
    if number < plan.batch:
        raise InputError(f'{number} training images are fewer than a batch of {plan.batch}: give --batch-size')
    each = number // plan.batch
    plan.epochs = epochs or int(np.clip(-(-_ITERATIONS // each), _LEAST_EPOCHS, _MOST_EPOCHS))
    plan.val_interval = max(1, plan.epochs // 12)
    plan.choose('length', f'{plan.epochs} epochs of {each} iterations', 'asked for' if epochs else
                f'about {_ITERATIONS} iterations, which {number} images allow in {_LEAST_EPOCHS} to {_MOST_EPOCHS} '
                'epochs; it ends early where validation gains nothing more')
    if plan.tiling:
        plan.mosaic = plan.epochs * each >= _MOSAIC_ITERATIONS and number >= _MOSAIC_TILES
        plan.choose('augmentation', 'mosaics of four tiles, sizes, colours, flips' if plan.mosaic else
                    'sizes, colours, flips', f'{plan.epochs * each} iterations of {number} tiles are '
                    f'{"enough" if plan.mosaic else "too few"} to learn from mosaics, which help on images from '
                    'elsewhere')


def _strides(side: int, fine: bool) -> list[float]:
    """Of the maps, for images of ``side`` pixels: from the middle of a position to that of the next."""
    maps = [side // _FINEST[fine]]
    while len(maps) < _MAPS - 1:
        maps.append(-(-maps[-1] // 2))
    return [side / number for number in (*maps, 1)]


def _choose_network(plan: Plan, head: str) -> None:
    check_model(plan.model)
    plan.choose('network', f'{head} with {plan.model}',
                'the default; --model names others' if plan.model == 'mobileode_v1' else 'asked for')


def _to_input(image: Image, plan: Plan) -> np.ndarray:
    """What pixels of an image are multiplied by to be the network's: (x, y, x, y)."""
    if plan.tiling:
        return np.ones(4)  # tiles are written at the network's size
    return np.array([plan.side / image.size[1], plan.side / image.size[0]] * 2)


def _free_memory() -> float:
    """Bytes that a training may hope for: of the GPU where there is one; of a container no more than it may take."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    limits = [Path(file).read_text().strip() for file in _LIMITS if os.access(file, os.R_OK)]
    return min([_free_of_machine(), *(float(limit) for limit in limits if limit.isdigit())])


def _free_of_machine() -> float:
    for line in open('/proc/meminfo') if os.path.exists('/proc/meminfo') else ():
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) * 1024
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2
