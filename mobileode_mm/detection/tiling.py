"""Detection on large images, tile by tile, the results put together in the image's own pixels."""
from collections.abc import Iterator, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch import Tensor

#: Boxes that are kept of a whole image, where ``test_cfg.tile`` does not say.
MOST_BOXES = 1000
#: Tiles that a network is given at once, which bounds the memory.
_AT_ONCE = 16
#: A box is cut by its tile where it comes this near to an edge, in pixels.
_NEAR = 1.5


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles of a side begin so that they cover ``length``, the last flush with the end.

    Neighbours share ``overlap`` or more. A shorter length has one tile, which reaches beyond it.
    """
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def windows(size: tuple[int, int], tile: int, overlap: int) -> list[tuple[int, int]]:
    """Corners (top, left) of the tiles of an image of ``size`` (height, width)."""
    return list(product(starts(size[0], tile, overlap), starts(size[1], tile, overlap)))


def cut(image: Tensor, corners: Sequence[tuple[int, int]], tile: int) -> Iterator[Tensor]:
    """Tiles of an image (C, H, W) in batches (N, C, tile, tile); what lies beyond the image is 0."""
    height, width = image.shape[1:]
    for first in range(0, len(corners), _AT_ONCE):
        batch = []
        for top, left in corners[first:first + _AT_ONCE]:
            part = image[:, top:top + tile, left:left + tile]
            batch.append(F.pad(part, (0, tile - part.shape[2], 0, tile - part.shape[1])))
        yield torch.stack(batch)


def merge(found: Sequence[InstanceData], corners: Sequence[tuple[int, int]], size: tuple[int, int], tile: int,
          overlap: int, nms: dict, most: int) -> InstanceData:
    """Put together what was found in tiles.

    A box that is cut by the inner edge of its tile is dropped where a neighbour sees all of it, that is where it is no
    larger than the overlap; of what two tiles found, suppression keeps the surer.

    Args:
        found: ``bboxes`` (N, 4) in pixels of the tile, ``scores``, ``labels``.
        corners: Top and left of each tile.
        size: Height and width of the image.
        tile: Side of the tiles.
        overlap: What neighbours share.
        nms: As in ``test_cfg``.
        most: Boxes that are kept.
    """
    height, width = size
    whole = []
    for instances, (top, left) in zip(found, corners, strict=True):
        boxes = instances.bboxes
        inner = boxes.new_tensor([left > 0, top > 0, left + tile < width, top + tile < height]).bool()
        near = torch.cat([boxes[:, :2] < _NEAR, boxes[:, 2:] > tile - _NEAR], 1) & inner
        sides = boxes[:, 2:] - boxes[:, :2]
        small = (sides < overlap - _NEAR)[:, [0, 1, 0, 1]]
        instances = instances[~(near & small).any(1)]
        instances.bboxes = instances.bboxes + instances.bboxes.new_tensor([left, top, left, top])
        instances.bboxes[:, 0::2] = instances.bboxes[:, 0::2].clamp(0, width)
        instances.bboxes[:, 1::2] = instances.bboxes[:, 1::2].clamp(0, height)
        whole.append(instances)
    merged = InstanceData.cat(whole)
    if not len(merged):
        return merged
    kept, keep = batched_nms(merged.bboxes, merged.scores, merged.labels, nms)
    merged = merged[keep]
    merged.scores = kept[:, -1]
    return merged[:most]
