"""Anchors that fit the boxes of a data set."""
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmengine.registry import DefaultScope
from torch import Tensor

#: From this overlap on an anchor is trained to find a box.
REACHED = 0.5
_RATIOS = [2, 3]
#: Boxes that the search looks at, spread evenly; more say no more.
_MOST = 2000
#: Steps by which the search changes the sizes of a map's anchors.
_FACTORS = (0.7, 0.9, 1.1, 1.4)
_ROUNDS = 12


def generator(strides: Sequence[float], min_sizes: Sequence[float], max_sizes: Sequence[float]) -> dict:
    """Config of an SSD anchor generator with six anchors a position."""
    return dict(type='SSDAnchorGenerator', scale_major=False, strides=list(strides),
                ratios=[_RATIOS] * len(strides), min_sizes=list(min_sizes), max_sizes=list(max_sizes))


def best_overlaps(boxes: np.ndarray, config: dict, size: tuple[int, int]) -> np.ndarray:
    """The largest IoU that each box has with an anchor.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the network's input.
        config: Of an anchor generator.
        size: Height and width of the network's input.

    Returns:
        (N,).
    """
    return _overlaps(torch.as_tensor(boxes, dtype=torch.float64), config, size).amax(0).numpy()


def reached(boxes: np.ndarray, config: dict, size: tuple[int, int]) -> float:
    """Share of the boxes that some anchor overlaps by :data:`REACHED` or more."""
    return float((best_overlaps(boxes, config, size) >= REACHED).mean()) if len(boxes) else 1.


def fit(boxes: np.ndarray, strides: Sequence[float], size: tuple[int, int]) -> dict:
    """The anchors, six a position, that reach the most boxes and overlap them best.

    Of sizes that grow by equal factors from map to map the best are changed, a map at a time, as long as that is a
    gain.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the network's input.
        strides: Of the maps, finest first.
        size: Height and width of the network's input.

    Returns:
        Config of the anchor generator.
    """
    looked_at = torch.as_tensor(boxes[::-(-len(boxes) // _MOST) or 1], dtype=torch.float64)
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(1).prod(1))

    def of_map(number: int, low: float, high: float) -> Tensor:
        return _overlaps(looked_at, generator(strides[number:number + 1], [low], [high]), size)[0]

    def of_all(sizes: np.ndarray) -> Tensor:
        return torch.stack([of_map(number, *pair) for number, pair in enumerate(sizes)])

    starts = [np.geomspace(low, high, len(strides) + 1) for low in np.quantile(sides, (0.05, 0.25, 0.5)).clip(4)
              for high in (np.quantile(sides, 0.99), 1.05 * max(size)) if high > 1.5 * low]
    sizes = max((np.stack([start[:-1], start[1:]], 1) for start in starts), key=lambda start: _worth(of_all(start)))
    overlaps = of_all(sizes)
    best = _worth(overlaps)
    for _ in range(_ROUNDS):
        before = best
        for number in range(len(strides)):
            for change in [(a, b) for a in (1, *_FACTORS) for b in (1, *_FACTORS) if (a, b) != (1, 1)]:
                pair = sizes[number] * change
                if pair[0] < 4 or not pair[0] < pair[1] <= 1.2 * max(size):
                    continue
                trial = overlaps.clone()
                trial[number] = of_map(number, *pair)
                if _worth(trial) > best + 1e-4:
                    sizes[number], overlaps, best = pair, trial, _worth(trial)
        if best == before:
            break
    low, high = (np.round(column, 1).tolist() for column in sizes.T)
    return generator(strides, low, high)


def _worth(overlaps: Tensor) -> float:
    """Of IoUs (maps, N): the share that is reached, and the mean, in which what is over 0.8 counts no more."""
    best = overlaps.amax(0)
    return float((best >= REACHED).double().mean() + best.clamp(max=0.8).mean())


def _overlaps(boxes: Tensor, config: dict, size: tuple[int, int]) -> Tensor:
    """(maps, N): the largest IoU that each box has with an anchor of each map."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        made = TASK_UTILS.build(config)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    best = []
    for stride, base in zip(made.strides, made.base_anchors):
        base, stride = base.double(), torch.tensor(stride, dtype=torch.float64)
        offset = (base[0, :2] + base[0, 2:]) / 2
        last = (torch.tensor(size[::-1], dtype=torch.float64) / stride).ceil() - 1
        # Of equal anchors the one whose centre is nearest has the largest IoU.
        place = ((centres - offset) / stride).round().clamp(min=0).minimum(last)
        distance = (place * stride + offset - centres).abs()[:, None]
        anchors = base[:, 2:] - base[:, :2]
        inner = torch.minimum(torch.minimum(sides[:, None], anchors), (sides[:, None] + anchors) / 2 - distance)
        inner = inner.clamp(min=0).prod(2)
        best.append((inner / (sides.prod(1)[:, None] + anchors.prod(1) - inner)).amax(1))
    return torch.stack(best)
