"""Detectors that see images tile by tile: what a file of one tile has to know, and how a tile's call sees an image."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from ..errors import InputError
from ..runs.config import most_boxes
from .formats import Run, quiet
from .tasks import Suppression


def tiles_of(cfg: Config, size: Sequence[int] | None = None, dynamic: str = 'none', int8: bool = False) -> dict | None:
    """How a detector sees images tile by tile, ``model.test_cfg.tile``; None where it sees whole ones.

    Returns:
        ``size`` and ``overlap`` in pixels of the prepared image, ``most`` boxes of an image, and the
        ``iou_threshold`` above which the lesser of two boxes of a class goes.

    Raises:
        InputError: What is asked of the file is not for tiles.
    """
    test_cfg = cfg.model.get('test_cfg') or {}
    if not test_cfg.get('tile'):
        return None
    side = test_cfg['tile']['size']
    about = f'{cfg.filename} sees images in tiles of {side} x {side} px (model.test_cfg.tile)'
    if dynamic in ('size', 'both') or size not in (None, [side, side], (side, side)):
        raise InputError(f'{about}: the file takes that size; leave --size and --dynamic size out')
    if int8:
        raise InputError(f'{about}: --int8 is calibrated and measured on whole images, so it is not for this network')
    return dict(size=side, overlap=test_cfg['tile']['overlap'], most=most_boxes(cfg)[1],
                iou_threshold=Suppression.of(test_cfg).iou_threshold)


def tiled(call: Run, tiles: dict, mean: Sequence[float]) -> Run:
    """A call on an image (1, H, W, 3) of any size, whose tiles another call sees, one by one.

    Args:
        call: Gives boxes, scores and labels of a tile.
        tiles: As ``tiles_of`` gives them.
        mean: Of R, G and B, which is nothing to the network; it stands where a tile reaches beyond the image.
    """
    with quiet():  # of a toolbox, which reports on standard output, where the results go
        from ..detection import tiling
    side, overlap = tiles['size'], tiles['overlap']

    def run(image):
        height, width = image.shape[1:3]
        whole = np.full((max(height, side), max(width, side), 3), np.round(mean), np.uint8)
        whole[:height, :width] = image[0]
        corners = tiling.windows((height, width), side, overlap)
        found = []
        for top, left in corners:
            tile = np.ascontiguousarray(whole[None, top:top + side, left:left + side])
            boxes, scores, labels = map(torch.from_numpy, call(tile))
            kept = scores[0] > 0
            found.append(InstanceData(bboxes=boxes[0, kept], scores=scores[0, kept], labels=labels[0, kept]))
        merged = tiling.merge(found, corners, (height, width), side, overlap,
                              dict(type='nms', iou_threshold=tiles['iou_threshold']), tiles['most'])
        return [merged[name].numpy()[None] for name in ('bboxes', 'scores', 'labels')]

    return run
