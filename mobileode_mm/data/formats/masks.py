"""Images in one folder, and for each a label map of the same name in another."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ...errors import InputError, listed
from ..label_maps import VOID
from .found import ALL, Found, Image, image_size, images_in, split_of

IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img', 'JPEGImages')
MASK_FOLDERS = ('masks', 'mask', 'SegmentationClass', 'annotations', 'labels', 'gt', 'segmentations')
#: Files that name the classes, one a line; CVAT's labelmap.txt has ``name:r,g,b::``.
_NAMES = ('classes.txt', 'labels.txt', 'labelmap.txt')
#: Label maps that are looked at for the values that occur.
_LOOKED_AT = 200
#: Classes of masks that have the values 0 and 255.
_TWO_VALUED = ('background', 'object')


def find(folder: Path) -> Found | None:
    """The data set of a folder with images and label maps; None where there are no such folders.

    Label maps have one channel, and values that are class indices, in which 255 counts for no class; maps of two
    values, 0 and 255, are background and one class.
    """
    pairs = {}
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        images, masks = (next((place / name for name in names if images_in(place / name)), None)
                         for names in (IMAGE_FOLDERS, MASK_FOLDERS))
        if images and masks:
            pairs[split_of(place.name) if place != folder else ALL] = (images, masks)
    pairs = pairs or _by_split(folder)
    if not pairs:
        return None
    found = {split: _images(images, masks) for split, (images, masks) in pairs.items() if split}
    classes, notes = _classes(folder, [image.mask for images in found.values() for image in images])
    return Found(folder, 'segmentation', 'images and masks', classes, found, notes)


def _by_split(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Splits below images/ and masks/ instead of above them."""
    images, masks = (next((folder / name for name in names if (folder / name).is_dir()), None)
                     for names in (IMAGE_FOLDERS, MASK_FOLDERS))
    if images is None or masks is None:
        return {}
    return {split: (path, masks / path.name) for path in sorted(images.iterdir())
            if path.is_dir() and (split := split_of(path.name)) and images_in(path) and images_in(masks / path.name)}


def _images(images: Path, masks: Path) -> list[Image]:
    by_stem = {path.stem: path for path in images_in(masks)}
    paths = images_in(images)
    without = [path.name for path in paths if path.stem not in by_stem]
    if without:
        raise InputError(f'{len(without)} of {len(paths)} images in {images} have no mask of their name in {masks}: '
                         f'{listed(without, 5)}')
    return [Image(path, image_size(path), mask=by_stem[path.stem]) for path in paths]


def values_of(mask: Path) -> np.ndarray:
    """The values that occur in a label map; InputError where it has several channels or more than 8 bits."""
    try:
        with Pillow.open(mask) as image:
            if image.mode not in ('L', 'P', '1'):
                raise InputError(f'{mask} is an image of the mode {image.mode}: a label map has one channel of 8 bits, '
                                 'whose values are class indices. Convert it first')
            pixels = np.asarray(image)
    except OSError as error:
        raise InputError(f'{mask} cannot be read as an image: {error}') from error
    return np.unique(pixels.astype(np.uint8))


def read_labels(mask: Path, classes: Sequence[str]) -> np.ndarray:
    """(H, W), int: class indices of a label map of these classes; of two-valued masks, 255 is the object."""
    with Pillow.open(mask) as image:
        labels = np.asarray(image).astype(int)
    return (labels > 0).astype(int) if tuple(classes) == _TWO_VALUED and VOID in labels else labels


def is_two_valued(mask: Path, classes: Sequence[str]) -> bool:
    """Whether a label map's own values are not the class indices."""
    return tuple(classes) == _TWO_VALUED and VOID in values_of(mask)


def _classes(folder: Path, masks: list[Path]) -> tuple[tuple[str, ...], list[str]]:
    looked_at = masks[::max(1, len(masks) // _LOOKED_AT)]
    values = np.unique(np.concatenate([values_of(path) for path in looked_at]))
    file = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if set(values) <= {0, VOID} and VOID in values:
        return _TWO_VALUED, ['masks have the values 0 and 255: background, and one class called object']
    values = values[values != VOID]
    if file is not None:
        lines = [line.split(':')[0].strip() for line in file.read_text('utf-8-sig').splitlines()]
        classes = tuple(line for line in lines if line and not line.startswith('#'))
        if len(classes) <= values.max():
            raise InputError(f'{file} names {len(classes)} classes, but label maps have the value {values.max()}')
        return classes, []
    classes = ('background', *(f'class {number}' for number in range(1, int(values.max()) + 1)))
    return classes, [f'no {" or ".join(_NAMES)} names the classes: they are called by their values']
