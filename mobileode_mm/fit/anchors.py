"""Anchors that fit the boxes of a data set."""
from collections.abc import Sequence
from itertools import product

import numpy as np

#: From this overlap on an anchor is trained to find a box.
REACHED = 0.5
_RATIOS = (2, 3)
#: Boxes that the search looks at, spread evenly; more say no more.
_MOST = 1000
#: Steps by which the search changes the sizes of a map's anchors.
_FACTORS = (0.7, 0.9, 1, 1.1, 1.4)
_ROUNDS = 12


def generator(strides: Sequence[float], min_sizes: Sequence[float], max_sizes: Sequence[float]) -> dict:
    """Config of an SSD anchor generator with six anchors a position."""
    return dict(type='SSDAnchorGenerator', scale_major=False, strides=list(strides),
                ratios=[list(_RATIOS)] * len(strides), min_sizes=list(min_sizes), max_sizes=list(max_sizes))


def best_overlaps(boxes: np.ndarray, config: dict, size: tuple[int, int]) -> np.ndarray:
    """The largest IoU that each box has with an anchor of :func:`generator`.

    Args:
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the network's input.
        config: Of the generator.
        size: Height and width of the network's input.

    Returns:
        (N,).
    """
    maps = zip(config['strides'], config['min_sizes'], config['max_sizes'])
    return np.stack([_of_map(boxes, stride, np.array([[low, high]]), size)[0] for stride, low, high in maps]).max(0)


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
    boxes = boxes[::max(1, len(boxes) // _MOST)]
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(1).prod(1))
    grown = [np.geomspace(low, max(high, 1.5 * low), len(strides) + 1)
             for low in np.quantile(sides, (0.05, 0.25, 0.5)).clip(4, 0.7 * max(size))
             for high in (np.quantile(sides, 0.99), 1.05 * max(size))]
    starts = [np.stack([start[:-1], start[1:]], 1) for start in grown]

    def of_maps(sizes: np.ndarray) -> np.ndarray:
        return np.stack([_of_map(boxes, stride, pair[None], size)[0] for stride, pair in zip(strides, sizes)])

    sizes = max(starts, key=lambda start: _worth(of_maps(start).max(0)))
    overlaps = of_maps(sizes)
    best = _worth(overlaps.max(0))
    for _ in range(_ROUNDS):
        before = best
        for number, stride in enumerate(strides):
            pairs = sizes[number] * np.array(list(product(_FACTORS, _FACTORS)))
            pairs = pairs[(pairs[:, 0] >= 4) & (pairs[:, 0] < pairs[:, 1]) & (pairs[:, 1] <= 1.2 * max(size))]
            if not len(pairs):
                continue
            trials = _of_map(boxes, stride, pairs, size)
            others = np.delete(overlaps, number, 0).max(0)
            worths = [_worth(np.maximum(trial, others)) for trial in trials]
            choice = int(np.argmax(worths))
            if worths[choice] > best + 1e-4:
                sizes[number], overlaps[number], best = pairs[choice], trials[choice], worths[choice]
        if best == before:
            break
    low, high = (np.round(column, 1).tolist() for column in sizes.T)
    return generator(strides, low, high)


def _worth(best: np.ndarray) -> float:
    """Of IoUs (N,): the share that is reached, and the mean, in which what is over 0.8 counts no more."""
    return float((best >= REACHED).mean() + best.clip(max=0.8).mean())


def _of_map(boxes: np.ndarray, stride: float, pairs: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(pairs, N): the largest IoU that each box has with an anchor of a map, for pairs (P, 2) of min and max size."""
    low, middle = pairs[:, 0], np.sqrt(pairs.prod(1))
    anchors = [(low, low), (middle, middle)]
    for ratio in _RATIOS:
        short, long = low / np.sqrt(ratio), low * np.sqrt(ratio)
        anchors += [(short, long), (long, short)]
    shapes = np.moveaxis(np.array(anchors), 2, 0)[:, :, None]  # (P, anchors, 1, width and height)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    # Of equal anchors the one whose centre is nearest has the largest IoU.
    last = np.ceil(np.array(size[::-1]) / stride) - 1
    places = np.minimum(np.round(centres / stride - 0.5).clip(0), last)
    distance = np.abs((places + 0.5) * stride - centres)
    inner = np.minimum(np.minimum(sides, shapes), (sides + shapes) / 2 - distance).clip(0).prod(-1)
    return (inner / (sides.prod(-1) + shapes.prod(-1) - inner)).max(1)
