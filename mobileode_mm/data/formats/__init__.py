"""Labelled images as people have them: which format is a folder in, and what is in it?

A format is a module with ``find(folder) -> Found | None``; :data:`FORMATS` is the order in which they are asked.
"""
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import InputError, listed
from . import class_folders, coco, masks, voc_xml, yolo
from .found import OTHER_SUFFIXES, SUFFIXES, Found, Image, images_below

#: The most telling sign first: class folders are what remains.
FORMATS: dict[str, Callable[[Path], Found | None]] = {
    'YOLO': yolo.find, 'COCO': coco.find, 'VOC XML': voc_xml.find, 'images and masks': masks.find,
    'class folders': class_folders.find}

__all__ = ['FORMATS', 'Found', 'Image', 'recognise']


def recognise(folder: str | Path) -> Found:
    """What labelled images a folder holds.

    Raises:
        InputError: It is no folder, in none of the formats, or faulty in the one that it is in.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f'there is no folder {folder}')
    for find in FORMATS.values():
        found = find(folder)
        if found is not None:
            return _with_left_out(_with_usable_boxes(found))
    raise InputError(
        f'{folder} is in no format that is known here. Looked for: data.yaml or images/ beside labels/ (YOLO), a JSON '
        'with images, annotations and categories (COCO; Roboflow, CVAT), XML files beside images (VOC), images/ beside '
        'masks/ with one mask an image, and a folder of images for each class, below train/ and val/ or not')


def _with_usable_boxes(found: Found) -> Found:
    """Boxes cut to their images; those of which less than a pixel a side is left are dropped, with a note."""
    dropped = []

    def cut(image: Image) -> Image:
        height, width = image.size
        boxes = np.clip(image.boxes, 0, (width, height, width, height))
        keep = (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        if keep.all():
            return image._replace(boxes=boxes)
        dropped.append(f'{image.path.name} ({(~keep).sum()})')
        return image._replace(boxes=boxes[keep], labels=image.labels[keep], crowd=image.crowd[keep])

    if found.task != 'detection':
        return found
    splits = {split: [cut(image) for image in images] for split, images in found.splits.items()}
    note = [f'boxes without size, or outside of their image, are left out: {listed(dropped, 5)}'] if dropped else []
    return found._replace(splits=splits, notes=[*found.notes, *note])


def _with_left_out(found: Found) -> Found:
    """With notes on the image files of the folder that are in no split."""
    used = {os.path.realpath(path) for images in found.splits.values() for image in images
            for path in (image.path, image.mask) if path}
    unused: Counter[Path] = Counter()
    unread: Counter[str] = Counter()
    for path in images_below(found.folder, SUFFIXES + OTHER_SUFFIXES):
        suffix = path.suffix.lower()
        if suffix in OTHER_SUFFIXES:
            unread[suffix] += 1
        elif os.path.realpath(path) not in used:
            unused[path.parent] += 1
    notes = []
    if unused:
        places = listed([f'{number} in {place}' for place, number in unused.items()], 5)
        notes.append(f'image files without a label, and masks without an image, are left out: {places}')
    if unread:
        kinds = ', '.join(f'{number} {suffix}' for suffix, number in unread.items())
        notes.append(f'images of kinds that training does not read are left out: {kinds}; it reads '
                     f'{", ".join(SUFFIXES)}')
    return found._replace(notes=[*found.notes, *notes])
