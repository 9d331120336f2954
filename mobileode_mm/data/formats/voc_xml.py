"""Pascal VOC's XML files, one an image: also what LabelImg, Roboflow and CVAT export."""
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import InputError
from .found import ALL, SUFFIXES, Found, Image, Images, image_size, names_below, size_as_labelled, split_of


def find(folder: Path) -> Found | None:
    """The data set of a folder with XML files of boxes; None where there are none.

    Coordinates are taken as they stand: whether a tool counts pixels from 0 or from 1 is not written in the file.
    """
    roots = {}
    for place, name in names_below(folder, ('.xml', )):
        root = _root(path := Path(place, name))
        if root.tag == 'annotation':
            roots[path] = root
    if not roots:
        return None
    classes = tuple(sorted({_text(entry, 'name', path) for path, root in roots.items()
                            for entry in root.iter('object')}))
    images = Images(folder)
    lists = _lists(folder, {path.stem for path in roots})
    found: dict[str, list[Image]] = {}
    for path, root in roots.items():
        splits = [split for split, stems in lists.items() if path.stem in stems] if lists else \
            [next(filter(None, map(split_of, path.relative_to(folder).parts[:-1])), ALL)]
        for split in splits:
            found.setdefault(split, []).append(_image(path, root, classes, images))
    notes = []
    left = len(roots) - len({path.stem for path in roots} & set().union(*lists.values())) if lists else 0
    if left:
        notes.append(f'{left} XML files are in no list of ImageSets/Main: they are left out')
    return Found(folder, 'detection', 'VOC XML', classes, found, notes)


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path} cannot be read as XML: {error}') from error


def _text(element: ElementTree.Element, name: str, path: Path) -> str:
    text = (element.findtext(name) or '').strip()
    if not text:
        raise InputError(f'{path}: {element.tag} without {name}')
    return text


def _numbers(element: ElementTree.Element, names: tuple[str, ...], path: Path) -> list[float]:
    try:
        return [float(_text(element, name, path)) for name in names]
    except ValueError as error:
        raise InputError(f'{path}: a {element.tag} with what is no number: {error}') from error


def _lists(folder: Path, known: set[str]) -> dict[str, set[str]]:
    """Stems of each split by VOC's own lists, where there are some; trainval.txt does where there is no train.txt.

    A line may be the path of an image, or have a number behind the stem.
    """
    def stems_in(file: Path) -> Iterator[str]:
        for line in filter(None, map(str.strip, file.read_text('utf-8-sig').splitlines())):
            name = re.split(r'[/\\]', line)[-1]
            yield next((stem for stem in (name, Path(name).stem, line.split()[0]) if stem in known), name)

    files = {split: folder / 'ImageSets' / 'Main' / f'{split}.txt' for split in ('train', 'val', 'test', 'trainval')}
    lists = {split: set(stems_in(file)) for split, file in files.items() if file.is_file()}
    lists = {split: stems for split, stems in lists.items() if stems}
    both = lists.pop('trainval', set()) - lists.get('val', set())
    return lists if 'train' in lists or not both else {'train': both, **lists}


def _image(path: Path, root: ElementTree.Element, classes: tuple[str, ...], images: Images) -> Image:
    near = [path.parent, path.parent.parent / 'JPEGImages', path.parent.parent / 'images']
    named = root.findtext('filename') or ''
    # The file's own stem is surer than the name in it, which survives a change of format or of name.
    file = next((place / f'{path.stem}{suffix}' for place in near for suffix in SUFFIXES
                 if (place / f'{path.stem}{suffix}').is_file()), None) or images.find(named or f'{path.stem}.jpg', near)
    boxes, labels, crowd = [], [], []
    for entry in root.iter('object'):
        box = entry.find('bndbox')
        if box is None:
            raise InputError(f'{path}: an object without bndbox')
        boxes.append(_numbers(box, ('xmin', 'ymin', 'xmax', 'ymax'), path))
        labels.append(classes.index(_text(entry, 'name', path)))
        crowd.append((entry.findtext('difficult') or '0').strip() == '1')
    said = root.find('size')
    height, width = (0, 0) if said is None else _numbers(said, ('height', 'width'), path)
    # Some tools write 0 where they do not know it.
    size = size_as_labelled(file, path, (int(height), int(width))) if height and width else image_size(file)
    return Image(file, size, np.array(boxes, float).reshape(-1, 4), np.array(labels, int),
                 np.array(crowd, bool))
