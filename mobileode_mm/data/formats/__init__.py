"""Labelled images as people have them: which format is a folder in, and what is in it?

A format is a module with ``find(folder) -> Found | None``; :data:`FORMATS` is the order in which they are asked.
"""
from collections.abc import Callable
from pathlib import Path

from ...errors import InputError
from . import class_folders, coco, masks, voc_xml, yolo
from .found import Found, Image

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
            return found
    raise InputError(
        f'{folder} is in no format that is known here. Looked for: data.yaml or images/ beside labels/ (YOLO), a JSON '
        'with images, annotations and categories (COCO; Roboflow, CVAT), XML files beside images (VOC), images/ beside '
        'masks/ with one mask an image, and a folder of images for each class, below train/ and val/ or not')
