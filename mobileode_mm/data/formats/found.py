"""The one form that all formats are read into, and what their readers share."""
import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from ...errors import InputError
from ..images import walk

SUFFIXES = ('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
#: Images too, which training does not read.
OTHER_SUFFIXES = ('.gif', '.heic', '.heif', '.avif', '.jp2', '.j2k', '.jxl', '.tga', '.psd', '.svg', '.dng', '.cr2',
                  '.cr3', '.nef', '.arw', '.raw')
#: What the splits are called, by the words that people write on folders and files.
SPLIT_WORDS = {'train': 'train', 'training': 'train', 'trainval': 'train', 'val': 'val', 'valid': 'val',
               'validation': 'val', 'dev': 'val', 'test': 'test', 'testing': 'test'}
#: The name of a split where the data have none.
ALL = 'all'
_EXIF_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


class Image(NamedTuple):
    """A labelled image.

    Attributes:
        path: The file.
        size: Height and width in pixels, as it is seen: turned as EXIF says.
        boxes: Of detection: (N, 4), x1, y1, x2, y2 in pixels, float64.
        labels: Of detection: (N,), class indices; of classification: one index in an array of one.
        crowd: Of detection: (N,), whether a box is one that evaluation ignores (COCO's iscrowd, VOC's difficult).
        mask: Of segmentation: the file of its label map.
        two_valued: Of segmentation: whether the map's values are 0 and 255 for the two classes, else 255 is for none.
    """
    path: Path
    size: tuple[int, int]
    boxes: np.ndarray = np.zeros((0, 4))
    labels: np.ndarray = np.zeros(0, int)
    crowd: np.ndarray = np.zeros(0, bool)
    mask: Path | None = None
    two_valued: bool = False


class Found(NamedTuple):
    """What a folder holds.

    Attributes:
        folder: The folder.
        task: ``'detection'``, ``'segmentation'`` or ``'classification'``.
        format: Its name, for people.
        classes: Names, in the order of the labels.
        splits: The images of ``'train'``, ``'val'`` and ``'test'``, or of :data:`ALL` where the data have no splits.
        notes: What was decided or left out while reading, for people.
    """
    folder: Path
    task: str
    format: str
    classes: tuple[str, ...]
    splits: dict[str, list[Image]]
    notes: list[str]


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file as it is seen, read from its header.

    Raises:
        InputError: It is no image.
    """
    try:
        with Pillow.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
    except (OSError, UnidentifiedImageError, Pillow.DecompressionBombError) as error:
        raise InputError(f'{path} cannot be read as an image: {error}') from error
    return (width, height) if turned else (height, width)


def size_as_labelled(path: Path, labels: Path, said: tuple[int, int]) -> tuple[int, int]:
    """:func:`image_size`, where the file of its boxes says the same.

    Args:
        path: The image.
        labels: The file of its boxes, for the message.
        said: Height and width by that file.

    Raises:
        InputError: The sizes differ, or it is no image.
    """
    size = image_size(path)
    if size != said:
        raise InputError(f'{labels} says that {path} is {said[1]}x{said[0]}; it is seen as {size[1]}x{size[0]}, and '
                         'its boxes would be misplaced. Was it resized, or turned by EXIF after it was labelled?')
    return size


def images_in(folder: Path) -> list[Path]:
    """Image files of a folder itself, hidden ones left out, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
                  and not path.name.startswith('.')) if folder.is_dir() else []


def images_below(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Image files of a folder and of all below it, hidden ones left out, in the order of their paths."""
    return [Path(place, name) for place, name in names_below(folder, suffixes)]


def names_below(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Folder and name of each file of a kind in a folder and below it: of a million images, no million paths.

    Hidden ones are left out: copies that editors keep, and ``._name``, which macOS puts into archives.
    """
    for place, folders, names in walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from ((place, name) for name in sorted(names)
                    if name.lower().endswith(suffixes) and not name.startswith('.'))


def split_of(name: str) -> str | None:
    """The split that a file's or folder's name speaks of, as in ``instances_val2017``; None where it speaks of none."""
    words = re.findall(r'[a-z]+', name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)


class Images:
    """The image files below a folder, found by what an annotation calls them."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        below: dict[str, list[Path]] = {}
        for path in images_below(self.folder):
            below.setdefault(path.name, []).append(path)
        return below

    def find(self, name: str, near: Iterable[Path]) -> Path:
        """The file of an image: below one of ``near``, else that of its name in the folder.

        Of several files of one name it is that in the folders that the name says, as far as one alone is.

        Raises:
            InputError: There is none, or several are called so.
        """
        for folder in near:
            if (folder / name).is_file():
                return folder / name
        # Windows' paths, and absolute ones of another machine, still end in the file's name.
        parts = re.split(r'[/\\]', name)
        found = self._below.get(parts[-1], [])
        agreeing = [len(os.path.commonprefix([path.parts[::-1], tuple(parts[::-1])])) for path in found]
        most = max(agreeing, default=0)
        found = [path for path, number in zip(found, agreeing) if number == most]
        if len(found) == 1:
            return found[0]
        what = 'is not there' if not found else 'could be any of ' + ', '.join(map(str, found[:3]))
        raise InputError(f'the image {name} {what}; looked for in {", ".join(map(str, near))} and below {self.folder}')
