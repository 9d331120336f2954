"""ImageNet-1k (ILSVRC 2012), in folders of classes or with lists in ``meta``."""

import os
import re
from collections import Counter
from pathlib import Path

from ..images import walk
from ..places import SOURCES, find_below
from .files import READ_ALL, Reading, check_files
from .report import Report

CLASSES = 1000
#: Images of each split as published.
PUBLISHED = {'train': 1_281_167, 'val': 50_000}
#: What folders of data of one's own are called too.
_OTHER_NAMES = {'val': ('valid', 'validation')}
#: Suffixes, in small letters, that mmpretrain takes for images.
SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')


def verify_imagenet(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check ``train`` and ``val``: a folder for each class, or flat with ``meta/{train,val}.txt``.

    As mmpretrain does, a split whose list in ``meta`` exists is read by that list.

    Args:
        root: The folder that holds both.
        subset: Other numbers of classes and images, and other names of classes than ImageNet's, are meant.
        reading: How images are read.

    Raises:
        InputError: There is no such folder.
    """
    root = find_below(root, ('.', 'imagenet'), ('train',), 'ImageNet')
    report = Report(f'{"Folders of classes" if subset else "ImageNet"} in {root}')
    classes = {}
    for split, published in PUBLISHED.items():
        listing, folder = root / 'meta' / f'{split}.txt', root / split
        remedy = 'copy it here again' if subset else f'unpack the archive of {split} again: {SOURCES["ImageNet"]}'
        if subset and not folder.is_dir():
            folder = next((root / name for name in _OTHER_NAMES.get(split, ()) if (root / name).is_dir()), folder)
        if listing.exists():
            found = read_list(report, split, folder, listing, None if subset else CLASSES)
        elif folder.is_dir():
            found = read_folders(report, split, folder, None if subset else CLASSES)
            classes[split] = list(found)
        else:
            report.problem(f'there is no {folder}', remedy)
            continue
        paths = [path for files in found.values() for path in files]
        numbers = [len(files) for files in found.values()] or [0]
        row = {'split': split, 'images': len(paths), **({} if subset else {'published': published}),
               'classes': len(found), 'fewest in a class': min(numbers), 'most': max(numbers)}
        report.rows.append(row)
        if not subset:
            report.compare(split, 'images', len(paths), published)
        row['read'] = len(check_files(report, split, paths, 'images', remedy, reading))
    if len(classes) == 2 and classes['train'] != classes['val']:
        different = set(classes['train']) ^ set(classes['val'])
        report.problem('train and val have different class folders, and labels follow their order',
                       'make the folders of both the same',
                       [f'{name}: in {"train" if name in classes["train"] else "val"} only'
                        for name in sorted(different)])
    return report


def read_folders(report: Report, split: str, folder: Path, number: int | None,
                 others: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Images by class folder, in the order of the labels.

    Args:
        report: Takes what is wrong.
        split: Its name.
        folder: Holds a folder for each class.
        number: Of classes, which are then ImageNet's; None where others are meant.
        others: Suffixes of files that belong there beside the images.
    """
    found, strange, loose = {}, [], []
    with os.scandir(folder) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir():  # a hidden one counts as well
            found[entry.name], more = _images_below(entry.path)
            strange += [path for path in more if not path.endswith(others)]
        elif not entry.name.startswith('.'):
            loose.append(entry.path)
    if loose:
        archives = all(path.endswith('.tar') for path in loose)
        remedy = ('unpack each archive into a folder of its name' if archives
                  else f'move each into the folder of its class, or list them with their labels in meta/{split}.txt')
        report.problem(f'{split}: {len(loose)} files lie in {folder} itself, where training does not look', remedy,
                       loose)
    empty = [name for name, files in found.items() if not files]
    if empty:
        report.problem(f'{split}: {len(empty)} class folders hold no image',
                       'fill them, or remove them in all splits', [str(folder / name) for name in empty])
    if strange:
        report.note(f'{split}: {len(strange)} files have no suffix of an image and are passed over', strange)
    if number is not None:
        report.compare(split, 'class folders', len(found), number)
    what, name_of_class = ('are hidden', r'[^.].*') if number is None else (
        'have no name of an ImageNet class, as in n01440764', r'n\d{8}')
    foreign = [name for name in found if not re.fullmatch(name_of_class, name)]
    if foreign:
        report.problem(f'{split}: {len(foreign)} folders {what}',
                       'move them away: each counts as a class, and shifts the labels of all that follow',
                       [str(folder / name) for name in foreign])
    return found


def _images_below(folder: str) -> tuple[list[str], list[str]]:
    """Images, and other files, at any depth."""
    images, others = [], []
    for place, _, names in walk(folder):
        for name in sorted(names):
            if not name.startswith('.'):
                (images if name.lower().endswith(SUFFIXES) else others).append(os.path.join(place, name))
    return images, others


def read_list(report: Report, split: str, folder: Path, listing: Path, classes: int | None) -> dict[int, list[str]]:
    """Images by label, as ``listing`` names them: on each line a path below ``folder`` and a label.

    Args:
        report: Takes what is wrong.
        split: Its name.
        folder: Of the images.
        listing: The list.
        classes: Number of labels; None where any number is meant.
    """
    remedy = 'each line is a path below the folder of the split and a label from 0 on, with a space between'
    try:
        lines = listing.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        report.problem(f'{listing} cannot be read: {error}', remedy)
        return {}
    found, wrong = {}, []
    for number, line in enumerate(lines, start=1):
        match = re.fullmatch(r'(.*\S)\s+(\d+)', line.strip())
        if match:
            found.setdefault(int(match[2]), []).append(str(folder / match[1]))
        elif line.strip():
            wrong.append(f'line {number}: {line[:80]}')
    if wrong:
        report.problem(f'{len(wrong)} lines of {listing} have another form', remedy, wrong)
    twice = [path for path, times in Counter(path for files in found.values() for path in files).items() if times > 1]
    if twice:
        report.problem(f'{listing} names {len(twice)} images more than once', 'leave one line of each', twice)
    labels = max(found, default=-1) + 1
    if classes is not None:
        labels = classes
        report.compare(split, 'labels', len(found), classes)
    absent = sorted(set(range(labels)) - found.keys())
    strange = sorted(found.keys() - set(range(labels)))
    if absent or strange:
        report.problem(f'{listing}: labels are not 0 to {labels - 1}', 'number the classes in the order of their names',
                       [f'label {label} is missing' for label in absent] + [f'label {label}' for label in strange])
    return {label: list(dict.fromkeys(found[label])) for label in sorted(found)}
