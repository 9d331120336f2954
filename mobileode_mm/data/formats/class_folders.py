"""A folder of images for each class, below train/ and val/ or not."""
from pathlib import Path

import numpy as np

from ...errors import InputError
from .found import ALL, Found, Image, image_size, images_below, split_of


def find(folder: Path) -> Found | None:
    """The data set of a folder whose subfolders are classes; None where fewer than two of them have images."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.'))
    tops = {path: split_of(path.name) for path in inner}
    places = {split: path for path, split in tops.items() if split} if all(tops.values()) and tops else {ALL: folder}
    files = {split: {path.name: images_below(path) for path in sorted(place.iterdir())
                     if path.is_dir() and not path.name.startswith('.')} for split, place in places.items()}
    files = {split: {name: paths for name, paths in folders.items() if paths} for split, folders in files.items()}
    classes = tuple(sorted({name for folders in files.values() for name in folders}))
    if len(classes) < 2:
        return None
    first = 'train' if 'train' in files else next(iter(files))
    missing = [name for name in classes if name not in files[first]]
    if missing:
        raise InputError(f'{places[first]} has no images of the classes {", ".join(missing)}, which the other splits '
                         'have')
    images = {split: [Image(path, image_size(path), labels=np.array([classes.index(name)]))
                      for name, paths in folders.items() for path in paths] for split, folders in files.items()}
    return Found(folder, 'classification', 'class folders', classes, images, [])
