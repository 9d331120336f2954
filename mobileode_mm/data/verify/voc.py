"""Pascal VOC 2012, with or without what the Semantic Boundaries Dataset adds."""

import contextlib
import os
from collections import Counter
from pathlib import Path

from PIL import Image

from ...errors import InputError
from ..label_maps import VOID, check_size, read_label_map
from ..places import SOURCES
from ..voc import IMAGES, LISTS, MASKS, MASKS_AUG, PUBLISHED, find_voc, read_names
from .files import READ_ALL, Reading, check_files
from .report import Report

_UNPACK = f'unpack the archive again: {SOURCES["Pascal VOC 2012"]}'
_CONVERT = 'make it with tools/dataset_converters/voc_aug.py'


def verify_voc(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check lists, images and masks of the folder VOC2012.

    ``train`` and ``val`` must be there; ``aug`` and ``trainaug`` are checked where they are.

    Args:
        root: VOC2012, or a folder above it as the archive unpacks.
        subset: Do not compare numbers with the published ones.
        reading: How images and masks are read.

    Raises:
        InputError: There is no such folder.
    """
    root = find_voc(root)
    report = Report(f'Pascal VOC 2012 in {root}')
    names = {}
    for split in PUBLISHED:
        path = root / LISTS / f'{split}.txt'
        if split in ('aug', 'trainaug') and not path.exists():
            continue
        try:
            names[split] = read_names(path)
        except InputError as error:
            report.problem(str(error), _remedy(split))
            continue
        twice = [name for name, number in Counter(names[split]).items() if number > 1]
        if twice:
            report.problem(f'{path} names {len(twice)} images more than once', _remedy(split), twice)
        if not subset:
            report.compare(split, 'images', len(names[split]), PUBLISHED[split])
    _check_apart(report, names)

    read = set()  # of all splits: trainaug shares most with train and aug
    for split, listed in names.items():
        folder = MASKS if split in ('train', 'val') else MASKS_AUG
        images = [str(root / IMAGES / f'{name}.jpg') for name in listed]
        masks = [str(root / folder / f'{name}.png') for name in listed]
        labels = _Labels(root / IMAGES)
        read |= check_files(report, split, _new(images, read), 'images', _UNPACK, reading)
        read |= check_files(report, split, _new(masks, read), f'masks in {folder}', _remedy(split), reading,
                            labels.read)
        if labels.blank:
            report.note(f'{split}: {len(labels.blank)} masks show background only', sorted(labels.blank))
        report.rows.append({
            'split': split, 'images': len(listed), **({} if subset else {'published': PUBLISHED[split]}),
            'read': len(read.intersection(images)), 'masks in': folder, 'masks read': len(read.intersection(masks))})
    return report


class _Labels:
    """Reads masks, with their images beside them, and remembers those without an object."""

    def __init__(self, images: Path):
        self.images = images
        self.blank = []

    def read(self, path: str) -> None:
        labels = read_label_map(path)
        with contextlib.suppress(OSError), Image.open(self.images / f'{Path(path).stem}.jpg') as image:
            check_size(labels, image.size)
        if not ((labels > 0) & (labels != VOID)).any():
            self.blank.append(path)


def _new(paths: list[str], read: set[str]) -> list[str]:
    return [path for path in dict.fromkeys(paths) if path not in read]


def _remedy(split: str) -> str:
    return _CONVERT if split in ('aug', 'trainaug') else _UNPACK


def _check_apart(report: Report, names: dict[str, list[str]]) -> None:
    """Nothing that training sees may be in val, and trainaug is train and aug."""
    for split in ('train', 'aug', 'trainaug'):
        shared = sorted(set(names.get(split, ())) & set(names.get('val', ())))
        if shared:
            report.problem(f'{len(shared)} images of {split}.txt are in val.txt too, and would make results too good',
                           f'move {split}.txt away and {_remedy(split)}', shared)
    if {'train', 'aug', 'trainaug'} <= names.keys():
        different = sorted(set(names['trainaug']) ^ (set(names['train']) | set(names['aug'])))
        if different:
            report.problem(f'trainaug.txt is not train.txt and aug.txt together: {len(different)} images differ',
                           f'move aug.txt and trainaug.txt away and {_CONVERT}', different)
