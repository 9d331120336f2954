"""A folder of images for each class, below train/ and val/ or not."""
from pathlib import Path

import numpy as np

from ...errors import InputError
from .found import ALL, SPLIT_WORDS, Found, Image, image_size, images_below, split_of


def find(folder: Path) -> Found | None:
    """The data set of a folder whose subfolders are classes; None where fewer than two of them have images.

    Where one of them speaks of training and has folders of images itself, they are splits, and what lies beside them is
    left out.

    Raises:
        InputError: A split has no images of a class, two folders are one split, or classes are called as splits are.
    """
    tops = _folders(folder)
    parts = {path: inner for path in tops if split_of(path.name) and (inner := _folders(path))}
    if len(parts) < len(tops):
        # Beside others the word itself is wanted: train_station is a class.
        parts = {path: inner for path, inner in parts.items() if path.name.lower() in SPLIT_WORDS}
        if not any(split_of(path.name) == 'train' for path in parts):
            parts = {folder: tops}
    files: dict[str, dict[str, list[Path]]] = {}
    places: dict[str, Path] = {}
    for path, inner in parts.items():
        split = ALL if path == folder else split_of(path.name)
        if split in places:
            raise InputError(f'{places[split]} and {path} both have the images for {split}: put them into one folder, '
                             'or take one away')
        places[split], files[split] = path, {inside.name: images for inside, images in inner.items()}
    classes = tuple(sorted({name for folders in files.values() for name in folders}))
    if len(classes) < 2:
        return None
    words = [name for name in classes if name.lower() in SPLIT_WORDS]
    # A class may be called train, as VOC's; beside one other, or another such word, it is rather a split.
    if len(words) > 1 or words and ALL in files and len(classes) == 2:
        raise InputError(f'{next(iter(places.values()))} has folders called {", ".join(words)}, as splits are, where '
                         'folders of classes are expected. A split has a folder of images for each class in it; a '
                         'class needs another name')
    first = 'train' if 'train' in files else next(iter(files))
    missing = [name for name in classes if name not in files[first]]
    if missing:
        raise InputError(f'{places[first]} has no images of the classes {", ".join(missing)}, which the other splits '
                         'have')
    images = {split: [Image(path, image_size(path), labels=np.array([classes.index(name)]))
                      for name, paths in folders.items() for path in paths] for split, folders in files.items()}
    return Found(folder, 'classification', 'class folders', classes, images, [])


def _folders(folder: Path) -> dict[Path, list[Path]]:
    """The folders directly below one, in the order of their names, that have images; with those images."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith('.'))
    return {path: images for path in inner if (images := images_below(path))}
