"""Where Pascal VOC 2012 and the lists of its images are."""

import os
import re
from pathlib import Path

from ..errors import InputError
from .places import find_below

#: Images in each list as published; ``aug`` and ``trainaug`` are what the Semantic Boundaries Dataset adds.
PUBLISHED = {'train': 1464, 'val': 1449, 'aug': 9118, 'trainaug': 10582}
IMAGES = 'JPEGImages'
MASKS = 'SegmentationClass'
MASKS_AUG = 'SegmentationClassAug'
LISTS = 'ImageSets/Segmentation'


def find_voc(path: str | os.PathLike) -> Path:
    """The folder VOC2012: ``path`` itself, or below it as the archive unpacks.

    Raises:
        InputError: It is not there.
    """
    return find_below(path, ('.', 'VOC2012', 'VOCdevkit/VOC2012'), (IMAGES, LISTS), 'Pascal VOC 2012')


def read_names(path: str | os.PathLike) -> list[str]:
    """Names of a list: one a line, without folder or suffix.

    Raises:
        InputError: The file is absent, empty, no text, or has another form.
    """
    try:
        lines = Path(path).read_text(encoding='utf-8').splitlines()
    except FileNotFoundError:
        raise InputError(f'there is no list {path}') from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'the list {path} cannot be read: {error}') from error
    names = [line.strip() for line in lines]
    for number, name in enumerate(names, start=1):
        if name and not re.fullmatch(r'[\w.-]*\w', name) or name.endswith(('.jpg', '.png', '.mat')):
            raise InputError(f'{path}, line {number}: "{name[:60]}" is not just the name of an image, as in '
                             '2007_000032')
    names = [name for name in names if name]
    if not names:
        raise InputError(f'the list {path} is empty')
    return names
