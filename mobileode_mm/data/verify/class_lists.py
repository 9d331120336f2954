"""ImageNet-R and Tiny-ImageNet: 200 classes of ImageNet, with lists that the commands of docs/data.md make."""

import os
from pathlib import Path

from ..places import SOURCES, find_below
from .files import READ_ALL, Reading, check_files
from .imagenet import read_folders, read_list
from .report import Report

CLASSES = 200
#: Images as published: of ImageNet-R in all, of Tiny-ImageNet in each split.
IMAGENET_R = 30_000
TINY_IMAGENET = {'train': 100_000, 'val': 10_000}
_LISTS = 'make the lists again with the command of docs/data.md'


def verify_imagenet_r(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check the images of the lists ``meta/train.txt`` and ``meta/val.txt``, which share none.

    Args:
        root: The folder that holds the class folders and ``meta``.
        subset: Do not compare numbers with the published ones.
        reading: How images are read.

    Raises:
        InputError: There is no such folder.
    """
    root = find_below(root, ('.', 'imagenet-r'), ('meta', ), 'ImageNet-R')
    report = Report(f'ImageNet-R in {root}')
    lists = {split: read_list(report, split, root, root / f'meta/{split}.txt', None if subset else CLASSES)
             for split in ('train', 'val')}
    images = {split: {path for files in found.values() for path in files} for split, found in lists.items()}
    order = sorted({Path(path).parent.name for path in images['train'] | images['val']})
    for split, found in lists.items():
        _add_row(report, split, found, None, f'unpack the archive again: {SOURCES["ImageNet-R"]}', reading)
        foreign = [path for label, files in found.items() for path in files
                   if Path(path).parent.name not in order[label:label + 1]]
        if foreign:
            report.problem(f'{split}: {len(foreign)} images have another label than their folder, of which there are '
                           f'{len(order)}', _LISTS, foreign)
    shared = sorted(images['train'] & images['val'])
    if shared:
        report.problem(f'{len(shared)} images are in train.txt and in val.txt, and would make results too good', _LISTS,
                       shared)
    if not subset:
        report.compare('train and val', 'images', len(images['train'] | images['val']), IMAGENET_R)
    return report


def verify_tiny_imagenet(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check ``train/WNID/images``, and ``val/images`` with the list ``meta/val.txt``; arguments as above.

    Raises:
        InputError: There is no such folder.
    """
    root = find_below(root, ('.', 'tiny-imagenet-200'), ('train', 'val'), 'Tiny-ImageNet')
    report = Report(f'Tiny-ImageNet in {root}')
    classes = None if subset else CLASSES
    # Beside each class's images lies a list of boxes.
    found = dict(train=read_folders(report, 'train', root / 'train', classes, others=('.txt', )),
                 val=read_list(report, 'val', root / 'val/images', root / 'meta/val.txt', classes))
    for split, images in found.items():
        _add_row(report, split, images, None if subset else TINY_IMAGENET[split],
                 f'unpack the archive again: {SOURCES["Tiny-ImageNet"]}', reading)
    return report


def _add_row(report: Report, split: str, found: dict, published: int | None, remedy: str, reading: Reading) -> None:
    """Count and read the images of a split, which are given by class."""
    paths = [path for files in found.values() for path in files]
    report.compare(split, 'images', len(paths), published)
    report.rows.append({
        'split': split, 'images': len(paths), **({} if published is None else {'published': published}),
        'classes': len(found), 'read': len(check_files(report, split, paths, 'images', remedy, reading))})
