"""YOLO's text files: ``class x y width height``, the centre and sides as shares of the image's."""
from pathlib import Path

import numpy as np
import yaml

from ...errors import InputError
from .found import ALL, Found, Image, Images, image_size, images_below, split_of

#: Where the names of classes stand, one a line, where there is no data.yaml (LabelImg, Label Studio, CVAT).
_NAMES = ('classes.txt', 'obj.names', 'labels/classes.txt')


def find(folder: Path) -> Found | None:
    """The data set of a folder with a ``data.yaml``, or with text files of boxes; None where there is neither."""
    description = _description(folder)
    if description is not None:
        path, document = description
        classes = _classes(path, document['names'])
        images = Images(folder)
        splits = {split: _listed(path, document, key, images) for key in ('train', 'val', 'valid', 'test')
                  if document.get(key) for split in (split_of(key), )}
        keypoints = _keypoints(path, document)
    else:
        keypoints = 0
        file = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
        splits = _by_folder(folder)
        if file is None or not any(_label_file(path).is_file() for paths in splits.values() for path in paths):
            return None
        classes = tuple(line.strip() for line in file.read_text('utf-8-sig').splitlines() if line.strip())
    if not any(splits.values()):
        raise InputError(f'{folder} names the classes {", ".join(classes[:5])}, but no images were found for them')
    notes: list[str] = []
    found = {split: [_image(path, classes, keypoints, notes) for path in paths]
             for split, paths in splits.items() if paths}
    return Found(folder, 'detection', 'YOLO', classes, found, sorted(set(notes)))


def _description(folder: Path) -> tuple[Path, dict] | None:
    """The YAML file that names classes and splits."""
    for path in sorted([*folder.glob('[!.]*.yaml'), *folder.glob('[!.]*.yml')]):
        try:
            document = yaml.safe_load(path.read_text('utf-8-sig'))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InputError(f'{path} cannot be read as YAML: {" ".join(str(error).split())}') from error
        if isinstance(document, dict) and 'names' in document and {'train', 'val', 'valid'} & document.keys():
            return path, document
    return None


def _classes(path: Path, names) -> tuple[str, ...]:
    """Names in the order of the labels that they are of: a list, or a dict by label."""
    if isinstance(names, dict) and all(str(label).isdecimal() for label in names):
        names = {int(label): name for label, name in names.items()}  # which may be written in quotes
        if sorted(names) == list(range(len(names))):
            names = [names[label] for label in sorted(names)]
    if not isinstance(names, list):
        raise InputError(f'{path}: names is {names}; it is a list, or has a name for each label from 0 on')
    return tuple(map(str, names))


def _keypoints(path: Path, document: dict) -> int:
    """How many numbers of keypoints follow a box, by ``kpt_shape``."""
    shape = document.get('kpt_shape')
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InputError(f'{path}: kpt_shape is {shape}; it is the number of keypoints and the values of each, as '
                         '[17, 3]')
    return shape[0] * shape[1]


def _listed(path: Path, document: dict, key: str, below: Images) -> list[Path]:
    """Images of a split: of a folder, of several, or of a text file that lists them."""
    roots = [path.parent]
    if document.get('path'):
        roots.insert(0, path.parent / document['path'])
    entries = document[key] if isinstance(document[key], list) else [document[key]]
    images: list[Path] = []
    for entry in map(str, entries):
        # Roboflow writes ../train/images into a file that lies beside train/.
        places = [root / name for root in roots for name in (entry, entry.removeprefix('../'))]
        place = next((place for place in places if place.exists()), None)
        if place is None:
            raise InputError(f'{path}: {key} is {entry}, which does not exist; looked at '
                             f'{", ".join(map(str, dict.fromkeys(places)))}')
        if place.is_dir():
            images += images_below(place)
        else:
            lines = [line.strip() for line in place.read_text('utf-8-sig').splitlines()]
            images += [below.find(line, (place.parent, *roots)) for line in lines if line]
    return images


def _by_folder(folder: Path) -> dict[str, list[Path]]:
    """Images below a folder by the split that their folders speak of."""
    splits: dict[str, list[Path]] = {}
    for path in images_below(folder):
        parts = path.relative_to(folder).parts[:-1]
        split = next(filter(None, map(split_of, parts)), ALL)
        splits.setdefault(split, []).append(path)
    if ALL in splits and len(splits) > 1:
        del splits[ALL]
    return splits


def _label_file(path: Path) -> Path:
    """Where the boxes of an image stand: in labels/ beside images/, else beside the image."""
    parts = list(path.parts)
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] == 'images':
            parts[number] = 'labels'
            return Path(*parts).with_suffix('.txt')
    return path.with_suffix('.txt')


def _image(path: Path, classes: tuple[str, ...], keypoints: int, notes: list[str]) -> Image:
    """An image with its boxes; one without a text file has none.

    Args:
        path: The file.
        classes: Their names.
        keypoints: Numbers of keypoints after each box; where there are some, there are no outlines.
        notes: To which what was decided is added.
    """
    if not path.is_file():
        raise InputError(f'the image {path} does not exist')
    height, width = image_size(path)
    file = _label_file(path)
    lines = file.read_text('utf-8-sig').splitlines() if file.is_file() else []
    boxes, labels = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f'{file}, line {number}'
        try:
            label, *numbers = [float(word) for word in line.split()]
        except ValueError:
            raise InputError(f'{where}: {line.strip()[:60]!r} is no row of numbers') from None
        if label not in range(len(classes)):
            raise InputError(f'{where}: class {label:g} is none of 0 to {len(classes) - 1}')
        if keypoints and len(numbers) == 4 + keypoints:
            numbers = numbers[:4]  # the others may be a keypoint's visibility, which is no share
            notes.append('of poses the boxes are taken, without their keypoints')
        if len(numbers) == 4:
            x, y, w, h = numbers
            corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        elif keypoints:
            raise InputError(f'{where}: {len(numbers)} numbers after the class; by kpt_shape a box and its keypoints '
                             f'have {4 + keypoints}')
        elif len(numbers) >= 6 and not len(numbers) % 2:
            corners = [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]
            notes.append('outlines are taken for the boxes around them')
        else:
            raise InputError(f'{where}: {len(numbers)} numbers after the class; a box has 4, an outline 6 or more')
        if max(numbers) > 1.01 or min(numbers) < -0.01:
            raise InputError(f'{where}: {line.strip()[:60]!r} has numbers outside of 0 to 1; YOLO\'s are shares of '
                             'the image, not pixels')
        boxes.append(corners)
        labels.append(int(label))
    scale = np.array([width, height, width, height])
    return Image(path, (height, width), np.array(boxes, float).reshape(-1, 4).clip(0, 1) * scale,
                 np.array(labels, int), np.zeros(len(labels), bool))
