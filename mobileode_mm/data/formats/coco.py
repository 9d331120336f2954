"""COCO's JSON, with any names of files and folders: also what Roboflow and CVAT export."""
from pathlib import Path

import numpy as np

from ...errors import InputError, listed
from ..coco_file import read_coco
from ..json_file import json_files
from ..verify.annotations import absent_lists, check_file
from ..verify.report import Report
from .found import ALL, Found, Image, Images, size_as_labelled, split_of


def find(folder: Path) -> Found | None:
    """The data set of a folder with annotation files; None where there are none.

    Raises:
        InputError: They are faulty, or which of them are meant is not clear.
    """
    report = Report(f'the annotation files of {folder}')
    documents, broken = {}, {}
    paths = json_files(folder, 2)
    beside = _beside_instances(paths)
    for path in paths:
        if path in beside:
            continue
        try:
            document, _ = read_coco(path)
        except InputError as error:
            broken[path] = error
            continue
        if not absent_lists(document):
            documents[path] = document
            report.add(*check_file(str(path), document))
    for path, error in broken.items():
        if not documents or _split(folder, path) != ALL:  # beside others, what no split is named on may be anything
            raise error
    if not documents:
        return None
    if report.problems:
        raise InputError(report.refusal())
    splits = _splits(folder, list(documents))
    classes, notes = _classes(documents)
    if beside:
        notes.append(f'of the annotation files those called instances_ are read, not {listed(beside, 5)}')
    notes += [note.text(most=5) for note in report.notes]
    images = Images(folder)
    found: dict[str, list[Image]] = {}
    files: dict[tuple[str, Path], Path] = {}
    for path, document in documents.items():
        split = splits[path]
        for image in _images(path, document, classes, images):
            other = files.setdefault((split, image.path), path)
            if other != path:
                raise InputError(f'{other} and {path} both have the boxes of {image.path}: it is not clear which are '
                                 'meant. Take one of the files away')
            found.setdefault(split, []).append(image)
    return Found(folder, 'detection', 'COCO', classes, found, notes)


def _beside_instances(paths: list[Path]) -> list[Path]:
    """Of annotation files those on the same images as an instances_*.json beside them: COCO's captions, keypoints."""
    named = [path for path in paths if path.stem.startswith('instances_')]
    return [path for path in paths if path not in named and any(
        path.parent == instances.parent and path.stem.endswith(instances.stem.removeprefix('instances'))
        for instances in named)]


def _split(folder: Path, path: Path) -> str:
    """The split of a file, by its own name or its folder's; :data:`ALL` where they say none."""
    return split_of(path.stem) or split_of(path.parent.relative_to(folder).as_posix()) or ALL


def _splits(folder: Path, paths: list[Path]) -> dict[Path, str]:
    """The split of each file; InputError where several files have none."""
    splits = {path: _split(folder, path) for path in paths}
    nameless = [path for path, split in splits.items() if split == ALL]
    if len(nameless) > 1 or nameless and len(paths) > 1:
        raise InputError(f'{folder} has several annotation files, and the names do not say which is for training and '
                         f'which for validation: {", ".join(map(str, paths))}. Call them train.json and val.json, or '
                         'take away what is not meant')
    return splits


def _classes(documents: dict[Path, dict]) -> tuple[tuple[str, ...], list[str]]:
    """Names in the order of their ids, of all files, in which ids may differ; a category that no box has (Roboflow's
    first) is left out."""
    ids: dict[str, int] = {}
    names: dict[int, str] = {}
    used = set()
    for path, document in documents.items():
        own = {category['id']: category['name'] for category in document['categories']}
        for number, name in own.items():
            known = names.get(number, name)
            # Where each file has a name that the other has not, one class was renamed rather than numbered anew.
            if name not in ids and known not in own.values():
                raise InputError(f'{path}: category {number} is {name}, in another file of the same data {known}')
        for number, name in own.items():
            ids.setdefault(name, number)
            names.setdefault(number, name)
        used |= {own[annotation['category_id']] for annotation in document['annotations']}
    ordered = sorted(ids, key=lambda name: ids[name])
    unused = [name for name in ordered if name not in used]
    notes = [f'no box is of the classes {", ".join(unused)}: they are left out'] if unused else []
    return tuple(name for name in ordered if name in used), notes


def _images(path: Path, document: dict, classes: tuple[str, ...], images: Images) -> list[Image]:
    label = {category['id']: classes.index(category['name']) for category in document['categories']
             if category['name'] in classes}
    rows: dict[int, list[dict]] = {entry['id']: [] for entry in document['images']}
    for annotation in document['annotations']:
        rows[annotation['image_id']].append(annotation)
    found = []
    split = path.stem.removeprefix('instances_')
    near = [path.parent, path.parent / 'images', path.parent.parent / split, path.parent.parent / 'images' / split,
            path.parent.parent / 'images', path.parent.parent]
    for entry in document['images']:
        file = images.find(entry['file_name'], near)
        size = size_as_labelled(file, path, (entry['height'], entry['width']))
        boxes = np.array([row['bbox'] for row in rows[entry['id']]], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found.append(Image(
            file, size, boxes, np.array([label[row['category_id']] for row in rows[entry['id']]], int),
            np.array([bool(row.get('iscrowd')) for row in rows[entry['id']]], bool)))
    return found
