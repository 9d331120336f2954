"""Large images cut into tiles that a network can train on."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from ..data.formats import Image
from ..data.images import read_image
from ..errors import InputError

#: Share of a box that has to be seen in a tile for the box to be one of the tile's.
VISIBLE = 0.4


def read(path: Path) -> Pillow.Image:
    """The upright image, RGB; InputError where it cannot be read, as where it is cut short."""
    try:
        with Pillow.open(path) as image:
            if image.mode.startswith('I;16'):  # of which Pillow would make white, and training takes the upper 8 bits
                return Pillow.fromarray(read_image(path, flag='color')[..., ::-1])
            return ImageOps.exif_transpose(image).convert('RGB')
    except OSError as error:
        raise InputError(f'{path} cannot be read as an image: {error}') from error


def crop(image: Image, pixels: Pillow.Image, box: tuple[int, int, int, int], path: Path, scale: int = 1) -> Image:
    """Write a part of an image, x1, y1, x2, y2, enlarged, and return it with the boxes that are seen in it."""
    x1, y1, x2, y2 = box
    part = pixels.crop(box)
    height, width = size = scale * (y2 - y1), scale * (x2 - x1)
    (part if scale == 1 else part.resize((width, height), Pillow.Resampling.BILINEAR)).save(path)
    boxes = image.boxes.copy()
    boxes[:, 0::2] = boxes[:, 0::2].clip(x1, x2) - x1
    boxes[:, 1::2] = boxes[:, 1::2].clip(y1, y2) - y1
    areas, seen = _areas(image.boxes), _areas(boxes)
    keep = seen > VISIBLE * areas
    return Image(path, size, scale * boxes[keep], image.labels[keep], image.crowd[keep])


def cut(images: Sequence[Image], side: int, step: int, folder: Path, scale: int = 1) -> list[Image]:
    """Cut images into tiles of ``side`` pixels, ``step`` apart, and write them, enlarged, as PNG into a folder.

    The last tile of a row is flush with the image's edge; images no larger than a tile are written as they are.
    """
    tiles = []
    for image in images:
        pixels = read(image.path)
        width, height = pixels.size
        for top in _starts(height, side, step):
            for left in _starts(width, side, step):
                box = (left, top, min(width, left + side), min(height, top + side))
                tiles.append(crop(image, pixels, box, folder / f'{image.path.stem}_{left}_{top}.png', scale))
    return tiles


def strip(image: Image, share: float, folder: Path) -> tuple[Image, Image]:
    """Part an image along its longer side into ``1 - share`` and ``share`` of it, each written as PNG."""
    pixels = read(image.path)
    width, height = pixels.size
    if width >= height:
        place = round(width * (1 - share))
        boxes = (0, 0, place, height), (place, 0, width, height)
    else:
        place = round(height * (1 - share))
        boxes = (0, 0, width, place), (0, place, width, height)
    first, second = (crop(image, pixels, box, folder / f'{image.path.stem}_{name}.png')
                     for box, name in zip(boxes, ('train', 'val')))
    return first, second


def _starts(length: int, side: int, step: int) -> list[int]:
    if length <= side:
        return [0]
    return [*range(0, length - side, step), length - side]


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
