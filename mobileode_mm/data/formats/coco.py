"""COCO's JSON, with any names of files and folders: also what Roboflow and CVAT export."""
from pathlib import Path

import numpy as np

from ...errors import InputError
from ..coco_file import read_coco
from ..verify.annotations import absent_lists, check_file
from ..verify.report import Report
from .found import ALL, Found, Image, Images, size_as_labelled, split_of


def find(folder: Path) -> Found | None:
    """The data set of a folder with annotation files; None where there are none."""
    report = Report(f'the annotation files of {folder}')
    documents, broken = {}, []
    for path in sorted(path for pattern in ('*.json', '*/*.json', '*/*/*.json') for path in folder.glob(pattern)):
        try:
            document, _ = read_coco(path)
        except InputError as error:
            broken.append(error)
            continue
        if not absent_lists(document):
            documents[path] = document
            report.add(*check_file(str(path), document))
    if not documents:
        if broken:
            raise broken[0]
        return None
    if report.problems:
        raise InputError(report.refusal())
    splits = _splits(folder, list(documents))
    classes, notes = _classes(documents)
    notes += [note.text(most=5) for note in report.notes]
    images = Images(folder)
    found: dict[str, list[Image]] = {}
    for path, document in documents.items():
        found.setdefault(splits[path], []).extend(_images(path, document, classes, images))
    return Found(folder, 'detection', 'COCO', classes, found, notes)


def _splits(folder: Path, paths: list[Path]) -> dict[Path, str]:
    """The split of each file, by its own name or its folder's; InputError where several files have none."""
    splits = {path: split_of(path.stem) or split_of(path.parent.relative_to(folder).as_posix()) or ALL
              for path in paths}
    nameless = [path for path, split in splits.items() if split == ALL]
    if len(nameless) > 1 or nameless and len(paths) > 1:
        raise InputError(f'{folder} has several annotation files, and the names do not say which is for training and '
                         f'which for validation: {", ".join(map(str, paths))}. Call them train.json and val.json, or '
                         'take away what is not meant')
    return splits


def _classes(documents: dict[Path, dict]) -> tuple[tuple[str, ...], list[str]]:
    """Names in the order of their ids, of all files; a category that no box has (Roboflow's first) is left out."""
    names: dict[int, str] = {}
    used = set()
    for path, document in documents.items():
        for category in document['categories']:
            known = names.setdefault(category['id'], category['name'])
            if known != category['name']:
                raise InputError(f'{path}: category {category["id"]} is {category["name"]}, in another file of the '
                                 f'same data {known}')
        used |= {annotation['category_id'] for annotation in document['annotations']}
    unused = [names[number] for number in sorted(names) if number not in used]
    notes = [f'no box is of the classes {", ".join(unused)}: they are left out'] if unused else []
    return tuple(names[number] for number in sorted(names) if number in used), notes


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
