"""Images in one folder, and for each a label map of the same name in another."""
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
#: Pillow's names of formats in which values come out changed, where class indices have to be exact.
_LOSSY = ('JPEG', 'MPO')


def find(folder: Path) -> Found | None:
    """The data set of a folder with images and label maps; None where there are no such folders.

    Label maps have one channel, and values that are class indices, in which 255 counts for no class; where all have
    the values 0 and 255 alone, these are two classes.

    Raises:
        InputError: An image has no label map, or label maps cannot be what they are taken for.
    """
    pairs, nameless = {}, []
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]:
        images, masks = (next((place / name for name in names if images_in(place / name)), None)
                         for names in (IMAGE_FOLDERS, MASK_FOLDERS))
        split = ALL if place == folder else split_of(place.name)
        if images and masks and split:
            pairs[split] = images, masks
        elif images and masks:
            nameless.append((images, masks))
    if len(nameless) == 1:  # a folder in which an archive was unpacked
        pairs = pairs or {ALL: nameless[0]}
    pairs = pairs or _by_split(folder)
    if not pairs:
        return None
    found = {split: _images(images, masks) for split, (images, masks) in pairs.items()}
    values = _values([image.mask for images in found.values() for image in images])
    two_valued = set(values) <= {0, VOID} and VOID in values
    classes, notes = _classes(folder, values, two_valued)
    found = {split: [image._replace(two_valued=two_valued) for image in images] for split, images in found.items()}
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


def read_labels(image: Image) -> np.ndarray:
    """(H, W), int: the class indices of an image's label map, and 255 for no class."""
    with Pillow.open(image.mask) as mask:
        labels = np.asarray(mask).astype(int)
    return (labels > 0).astype(int) if image.two_valued else labels


def _values(masks: list[Path]) -> np.ndarray:
    """The values that occur in label maps, of many in a sample."""
    return np.unique(np.concatenate([_values_of(path) for path in masks[::max(1, len(masks) // _LOOKED_AT)]]))


def _values_of(mask: Path) -> np.ndarray:
    try:
        with Pillow.open(mask) as image:
            if image.format in _LOSSY:
                raise InputError(f'{mask} is a JPEG, whose compression changes the values, so that they are no class '
                                 'indices. Export the label maps again, as PNG')
            if image.mode not in ('L', 'P', '1'):
                raise InputError(f'{mask} is an image of the mode {image.mode}: a label map has one channel of 8 bits, '
                                 'whose values are class indices. Convert it first')
            pixels = np.asarray(image)
    except OSError as error:
        raise InputError(f'{mask} cannot be read as an image: {error}') from error
    return np.unique(pixels.astype(np.uint8))


def _classes(folder: Path, values: np.ndarray, two_valued: bool) -> tuple[tuple[str, ...], list[str]]:
    file = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    classes: tuple[str, ...] = ()
    if file is not None:
        lines = [line.split(':')[0].strip() for line in file.read_text('utf-8-sig').splitlines()]
        classes = tuple(line for line in lines if line and not line.startswith('#'))
    if two_valued:
        if file is not None and len(classes) != 2:
            raise InputError(f'{file} names {len(classes)} classes, but label maps have the values 0 and {VOID} alone: '
                             'it has to name two, that of 0 first')
        classes = classes or ('background', 'object')
        return classes, [f'masks have the values 0 and {VOID}, which are the classes {" and ".join(classes)}']
    indices = values[values != VOID]
    largest = int(indices.max())
    if file is not None:
        if len(classes) <= largest:
            raise InputError(f'{file} names {len(classes)} classes, but label maps have the value {largest}: name them '
                             f'all, or map the values to 0 to {len(classes) - 1}')
        return classes, []
    if 2 * len(indices) < largest + 1:
        raise InputError(f'label maps of {folder} have the values {listed(values)}, and most of those between never: '
                         f'as class indices they would be of {largest + 1} classes. Map those of classes to 0, 1, 2 '
                         f'and so on, {VOID} being for no class, or name all {largest + 1} in {folder / _NAMES[0]}')
    classes = ('background', *(f'class {number}' for number in range(1, largest + 1)))
    return classes, [f'no {" or ".join(_NAMES)} names the classes: they are called by their values']
