"""ADE20K as the scene parsing benchmark publishes it: ``ADEChallengeData2016``."""

import contextlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from ..images import read_image
from ..label_maps import check_size
from ..places import SOURCES, find_below
from .files import READ_ALL, Reading, check_files
from .report import Report

CLASSES = 150
#: Images of each split as published.
PUBLISHED = {'training': 20_210, 'validation': 2_000}


def verify_ade20k(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check ``images/{training,validation}/*.jpg`` and ``annotations/{training,validation}/*.png``.

    Args:
        root: ADEChallengeData2016, or the folder above it.
        subset: Do not compare numbers with the published ones.
        reading: How images and masks are read.

    Raises:
        InputError: There is no such folder.
    """
    places = ('.', 'ADEChallengeData2016', 'ade/ADEChallengeData2016')
    root = find_below(root, places, ('images', 'annotations'), 'ADE20K')
    report = Report(f'ADE20K in {root}')
    remedy = f'unpack the archive again: {SOURCES["ADE20K"]}'
    for split, published in PUBLISHED.items():
        names = {folder: _stems(root / folder / split, suffix) for folder, suffix in (
            ('images', '.jpg'), ('annotations', '.png'))}
        absent = [str(root / folder / split) for folder, found in names.items() if found is None]
        if absent:
            report.problem(f'there is no {" and no ".join(absent)}', remedy)
            continue
        images = sorted(names['images'])
        surplus = sorted(names['annotations'] - names['images'])
        if surplus:
            report.problem(f'{split}: {len(surplus)} masks have no image', remedy, surplus)
        if not subset:
            report.compare(split, 'images', len(images), published)

        def read(path: str, split=split) -> None:
            _check_labels(path, root / 'images' / split / f'{Path(path).stem}.jpg')

        paths = {suffix: [str(root / folder / split / f'{name}{suffix}') for name in images]
                 for folder, suffix in (('images', '.jpg'), ('annotations', '.png'))}
        report.rows.append({
            'split': split, 'images': len(images), **({} if subset else {'published': published}),
            'read': len(check_files(report, split, paths['.jpg'], 'images', remedy, reading)),
            'masks read': len(check_files(report, split, paths['.png'], 'masks', remedy, reading, read))})
    return report


def _stems(folder: Path, suffix: str) -> set[str] | None:
    """Names of the files with a suffix; None where there is no such folder."""
    return {path.stem for path in folder.glob(f'*{suffix}')} if folder.is_dir() else None


def _check_labels(path: str, image: Path) -> None:
    """ValueError unless a mask is grey, of its image's size, and holds void (0) and the classes 1 to 150 alone."""
    labels = read_image(path, backend='pillow', flag='unchanged')
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError('is no label map: one grey value of 8 bits a pixel is wanted')
    with contextlib.suppress(OSError), Image.open(image) as opened:
        check_size(labels, opened.size)
    if labels.max() > CLASSES:
        raise ValueError(f'holds label {labels.max()}, beyond the {CLASSES} classes')
