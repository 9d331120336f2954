"""Labels and images: are the files there, and do boxes and masks fit the pixels that training reads?"""
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...data.formats.found import OTHER_SUFFIXES, SUFFIXES, names_below
from ...data.images import check_images, read_image
from ...data.verify.report import Finding
from ...errors import InputError, listed
from .heads import MOST_MASK_CLASSES
from .sources import Source

#: EXIF's number of the tag that says how a camera was held.
_ORIENTATION = 0x0112
_UPRIGHT = 1


def readers(source: Source) -> list[tuple[list[str], str, Callable[[str], object]]]:
    """Files of a data set, what they are, and what reads one as training does, or raises ValueError."""
    found: list[tuple[list[str], str, Callable[[str], object]]] = []
    if source.infos:
        found.append(([info['img_path'] for info in source.infos], 'images', Images(source)))
    if source.kind == 'masks' and source.infos and source.step('LoadAnnotations'):
        found.append(([info['seg_map_path'] for info in source.infos], 'label maps', LabelMaps(source)))
    return found


def check_files(source: Source, seconds: float | None = None,
                progress: Callable[[str], Callable[[int, int], object] | None] = lambda what: None
                ) -> Iterator[Finding]:
    """Files that are missing or unreadable, or do not fit their labels.

    Args:
        source: The data set.
        seconds: How long files are decoded; by default as :func:`mobileode_mm.data.images.check_images` does.
        progress: Gives a ``progress(done, total)`` for the files named.
    """
    yield from _passed_over(source)
    if source.lists_images and not source.infos:
        yield Finding(f'{source.where} holds no images that the config could use')
    for paths, what, read in readers(source):
        try:
            check_images(paths, f'{what} of {source.where}', read, seconds, progress(f'{source.split}: {what}'))
        except InputError as error:
            yield Finding(str(error))
        else:
            yield from read.findings()


def _passed_over(source: Source) -> Iterator[Finding]:
    """Image files of a folder that is read whole which the data set does not take for some by their names."""
    if source.kind not in ('masks', 'classes') or source.dataset.ann_file:
        return
    dataset, folder = source.dataset, Path(source.dataset.data_prefix['img_path'])
    files = [name for _, name in names_below(folder, SUFFIXES + OTHER_SUFFIXES)]
    if source.kind == 'masks':
        key, read = 'img_suffix', dataset.img_suffix
        names = [name for name in files if not name.endswith((read, dataset.seg_map_suffix))]
    else:
        key, read = 'extensions', ', '.join(sorted(dataset.extensions))
        names = [name for name in files if not name.lower().endswith(dataset.extensions)]
    if names:
        kinds = Counter(os.path.splitext(name)[1] for name in names)
        yield Finding(f'{folder}: {len(names)} of {len(files)} image files are not used, as their names do not end in '
                      f'{read}: {listed(f"{number} {kind}" for kind, number in kinds.items())}',
                      f'set {key} of the dataset, or convert them', tuple(sorted(names)), 'warning')


class Images:
    """Reads images as the pipeline does, and compares their sizes with those of an annotation file.

    Args:
        source: Their data set.
    """

    def __init__(self, source: Source):
        settings = source.step('LoadImageFromFile') or {}
        self.source = source
        self.backend, self.flag = settings.get('imdecode_backend', 'cv2'), settings.get('color_type', 'color')
        self._turns = 'ignore_orientation' not in self.flag
        self._read = partial(read_image, backend=self.backend, flag=self.flag)
        self._sizes = {info['img_path']: (info['width'], info['height']) for info in source.infos
                       if info.get('width') and info.get('height')}
        self._turned: list[str] = []

    def __call__(self, path: str) -> tuple[int, int]:
        """Width and height of an image as training sees it."""
        height, width = self._read(path).shape[:2]
        header = _header(path) or _Header((width, height), '', _UPRIGHT)
        if self.backend == 'pillow' and header.mode.startswith('I;16'):
            raise ValueError("has 16 bits, which imdecode_backend='pillow' makes white; read it with cv2")
        named = self._sizes.get(path)
        if named is not None and (width, height) != named:
            turned = header.orientation != _UPRIGHT and header.size == named
            why = (": its EXIF tag turns it, and the boxes are for the image that is not turned. Save it upright, or "
                   "set color_type='color_ignore_orientation' in LoadImageFromFile of all pipelines") if turned else ''
            raise ValueError(f'is {width}x{height}, the annotation file says {named[0]}x{named[1]}{why}')
        if header.orientation != _UPRIGHT and (width, height) == header.size and self._turns:
            self._turned.append(path)
        return width, height

    def findings(self) -> Iterator[Finding]:
        """What is doubtful in the images that were read."""
        if self._turned and self.source.kind in ('coco', 'xml', 'masks'):
            yield Finding(f'{self.source.where}: {len(self._turned)} images are turned by their EXIF tag when they are '
                          'read, and their size does not tell whether the labels are for the turned image',
                          'look at the labels of one, or save the images upright', tuple(sorted(self._turned)),
                          'warning')


class LabelMaps:
    """Reads label maps as the pipeline does, and compares them with their images and classes.

    Args:
        source: Their data set.
    """

    def __init__(self, source: Source):
        dataset = source.dataset
        self.source = source
        self._read = partial(read_image, backend=(source.step('LoadAnnotations') or {}).get(
            'imdecode_backend', 'pillow'))
        self._images = {info['seg_map_path']: info['img_path'] for info in source.infos}
        self._turns = 'ignore_orientation' not in (source.step('LoadImageFromFile') or {}).get('color_type', 'color')
        self._classes = dataset.label_map or source.classes or []
        self._highest = len(self._classes) - (0 if dataset.reduce_zero_label else 1)
        self._seen: list[dict[int, int]] = []  # several threads append

    def __call__(self, path: str) -> np.ndarray:
        """Labels (height, width) of a map."""
        labels = self._read(path)
        if labels.ndim == 3 and labels.shape[2] == 1:
            labels = labels[..., 0]
        if labels.ndim != 2:
            same = (labels[..., :3] == labels[..., :1]).all()
            why = ', all of one content: save one of them' if same else ', colours where class indices belong'
            raise ValueError(f'has {labels.shape[2]} channels{why}')
        if labels.dtype.kind not in 'iub':
            raise ValueError(f'holds numbers of type {labels.dtype}, not class indices')
        self._check_size(path, labels)
        values, counts = np.unique(labels, return_counts=True)
        strange = [int(label) for label in values if self._classes and label != self.source.dataset.ignore_index
                   and not 0 <= label <= self._highest]
        if strange:
            raise ValueError(f'holds label {strange[0]}, the config has {len(self._classes)} classes')
        self._seen.append(dict(zip(values.tolist(), counts.tolist())))
        return labels

    def findings(self) -> Iterator[Finding]:
        """Classes that no map shows, and maps of 0 and 255."""
        dataset, where = self.source.dataset, self.source.dataset.data_prefix.get('seg_map_path')
        if not self._seen or not self._classes or dataset.label_map or len(self._classes) > MOST_MASK_CLASSES:
            return
        pixels: Counter[int] = Counter()
        for counts in self._seen:
            pixels.update(counts)
        first = 1 if dataset.reduce_zero_label else 0
        absent = [name for number, name in enumerate(self._classes) if not pixels[number + first]]
        if len(self._classes) > 1 and pixels.keys() == {0, dataset.ignore_index} and not first:
            yield Finding(f'{where}: the {len(self._seen)} label maps hold 0 and {dataset.ignore_index} only, and '
                          f'{dataset.ignore_index} counts for no class: {self._classes[1]!r} has no pixel',
                          f'write 1 in the place of {dataset.ignore_index}')
        elif len(absent) == len(self._classes):
            yield Finding(f'{where}: the {len(self._seen)} label maps of {self.source.split} that were read hold '
                          f'{listed(sorted(pixels))} only: no pixel of any class, nothing to learn or to measure',
                          'write the numbers of the classes into them')
        elif absent:
            yield Finding(f'{where}: {len(absent)} classes have no pixel in the {len(self._seen)} label maps of '
                          f'{self.source.split} that were read', '', tuple(map(str, absent)), 'warning')

    def _check_size(self, path: str, labels: np.ndarray) -> None:
        header = _header(self._images[path])
        if header is None:  # an image that cannot be read is another finding
            return
        width, height = header.size
        if self._turns and header.orientation >= 5:
            width, height = height, width
        if labels.shape != (height, width):
            turned = ': the EXIF tag of the image turns it' if labels.shape[::-1] == header.size else ''
            raise ValueError(f'is {labels.shape[1]}x{labels.shape[0]}, its image {width}x{height}{turned}')


def image_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image file as stored; None where Pillow does not know the format."""
    header = _header(path)
    return header and header.size


class _Header(NamedTuple):
    """What stands before the pixels of an image file.

    Attributes:
        size: Width and height, as stored.
        mode: Pillow's.
        orientation: EXIF's; from 5 on the image lies on its side.
    """
    size: tuple[int, int]
    mode: str
    orientation: int


def _header(path: str) -> _Header | None:
    """What stands before the pixels; None where Pillow does not know the format."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
            return _Header(image.size, image.mode, orientation if isinstance(orientation, int) else _UPRIGHT)
    except OSError:
        return None
