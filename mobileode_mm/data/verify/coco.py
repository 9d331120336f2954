"""COCO 2017 for detection: annotation files and images."""

import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ..json_file import read_json
from ..places import find_below
from .files import READ_ALL, Reading, check_files, read_whole_image
from .report import Report

#: Images and annotations of each split as published.
PUBLISHED = {'train2017': (118_287, 860_001), 'val2017': (5_000, 36_781)}
ANNOTATIONS = 'http://images.cocodataset.org/annotations/annotations_trainval2017.zip'
#: COCO itself has a few boxes that training drops (cocodataset/cocoapi issue 355): up to this share is no problem.
_DROPPED = 1e-3
_KEYS = {'images': ('id', 'file_name', 'height', 'width'), 'categories': ('id', 'name'),
         'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area', 'iscrowd')}


@dataclass(frozen=True)
class CocoLayout:
    """A data set of annotation files ``annotations/instances_SPLIT.json`` and folders ``SPLIT`` of images.

    Attributes:
        name: Key in ``SOURCES``.
        folder: Its usual folder.
        published: Numbers of images and annotations by split; None where none are published.
        classes: Their names in order; None are COCO's 80.
        annotations: What to do about an annotation file.
        images: What to do about the images of ``{split}``.
    """

    name: str
    folder: str
    published: dict[str, tuple[int, int] | None]
    classes: tuple[str, ...] | None
    annotations: str
    images: str


def verify_coco(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check ``annotations/instances_{train,val}2017.json`` and the images in ``train2017`` and ``val2017``.

    Args:
        root: The folder that holds these three.
        subset: Do not compare numbers and classes with the published ones.
        reading: How images are read.

    Raises:
        InputError: There is no such folder.
    """
    layout = CocoLayout('COCO 2017', 'coco', PUBLISHED, None, f'unpack {ANNOTATIONS} again',
                        'unpack http://images.cocodataset.org/zips/{split}.zip again')
    return verify_coco_layout(layout, root, subset, reading)


def verify_coco_layout(layout: CocoLayout, root: str | os.PathLike, subset: bool = False,
                       reading: Reading = READ_ALL) -> Report:
    """Check a data set in COCO's format; arguments and errors as of :func:`verify_coco`."""
    root = find_below(root, ('.', layout.folder), ('annotations',), layout.name)
    report = Report(f'{layout.name} in {root}')
    classes = {}
    for split, published in layout.published.items():
        path = root / 'annotations' / f'instances_{split}.json'
        document = _read(report, path, layout.annotations)
        if document is None:
            continue
        images, categories = (_unique(report, path, key, document[key]) for key in ('images', 'categories'))
        annotations = _unique(report, path, 'annotations', document['annotations']).values()
        classes[split] = [(number, category['name']) for number, category in categories.items()]
        _check_names(report, path, images, classes[split])
        _check_references(report, path, annotations, images, categories, layout.annotations)
        _check_boxes(report, path, annotations, images)
        counts = {}
        if published is not None and not subset:
            report.compare(split, 'images', len(images), published[0])
            report.compare(split, 'annotations', len(annotations), published[1])
            counts = {'published': published[0]}
        row = {'split': split, 'images': len(images), **counts,
               'objects': sum(not annotation['iscrowd'] for annotation in annotations),
               'crowds': sum(bool(annotation['iscrowd']) for annotation in annotations),
               'images without': len(images.keys() - {annotation['image_id'] for annotation in annotations}),
               'classes': len(categories)}
        report.rows.append(row)
        row['read'] = _check_images(report, split, root / split, images, reading, layout.images.format(split=split))
    _check_classes(report, layout, classes, subset)
    return report


def _read(report: Report, path: Path, remedy: str) -> dict | None:
    """The annotation file's entries that have their keys; None where it cannot be used at all."""
    if not path.exists():
        report.problem(f'there is no {path}', remedy)
        return None
    try:
        document = read_json(path)
    except InputError as error:
        report.problem(str(error), remedy)
        return None
    absent = [key for key in _KEYS if not isinstance(document, dict) or not isinstance(document.get(key), list)]
    if absent:
        report.problem(f'{path} is no annotation file of COCO: it has no list {" and no list ".join(absent)}', remedy)
        return None
    kept = {}
    for key in _KEYS:
        faults = {number: _fault(key, entry) for number, entry in enumerate(document[key])}
        faults = {number: fault for number, fault in faults.items() if fault}
        if faults:
            report.problem(f'{path}: {len(faults)} of {len(document[key])} entries of "{key}" cannot be used', remedy,
                           [f'{key}[{number}] {fault}' for number, fault in faults.items()])
        kept[key] = [entry for number, entry in enumerate(document[key]) if number not in faults]
        if not document[key]:
            report.problem(f'{path}: its list "{key}" is empty', remedy)
    return kept


def _fault(key: str, entry) -> str:
    """What an entry lacks; empty where it is of use."""
    if not isinstance(entry, dict):
        return 'is no object with keys'
    for name in _KEYS[key]:
        if name not in entry:
            return f'lacks "{name}"'
    for name in ('height', 'width'):
        if key == 'images' and (not isinstance(entry[name], int) or entry[name] < 1):
            return f'has "{name}" {entry[name]!r}'
    if key == 'images' and not isinstance(entry['file_name'], str):
        return f'has "file_name" {entry["file_name"]!r}'
    if key == 'annotations':
        numbers = [entry['area'], *(entry['bbox'] if isinstance(entry['bbox'], list) else [None])]
        if len(numbers) != 5 or not all(isinstance(x, (int, float)) and math.isfinite(x) for x in numbers):
            return f'has "bbox" {entry["bbox"]!r} and "area" {entry["area"]!r}: four numbers and one are wanted'
    ids = [entry[name] for name in _KEYS[key] if name == 'id' or name.endswith('_id')]
    if not all(isinstance(number, (int, str)) for number in ids):
        return f'has an id that is neither a whole number nor a name: {ids}'
    return ''


def _unique(report: Report, path: Path, key: str, entries: list[dict]) -> dict[int, dict]:
    """Entries by their ids."""
    twice = [number for number, times in Counter(entry['id'] for entry in entries).items() if times > 1]
    if twice:
        report.problem(f'{path}: {len(twice)} ids of "{key}" occur more than once', 'give each entry an id of its own',
                       [f'{key} id {number}' for number in twice])
    return {entry['id']: entry for entry in entries}


def _check_names(report: Report, path: Path, images: dict[int, dict], classes: list[tuple[int, str]]) -> None:
    for what, names in (('file names', [image['file_name'] for image in images.values()]),
                        ('class names', [name for _, name in classes])):
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            report.problem(f'{path}: {len(twice)} {what} occur under more than one id', 'leave one entry of each',
                           twice)


def _check_references(report: Report, path: Path, annotations, images: dict, categories: dict,
                      remedy: str) -> None:
    for key, known in (('image_id', images), ('category_id', categories)):
        lost = [annotation for annotation in annotations if annotation[key] not in known]
        if lost:
            report.problem(f'{path}: {len(lost)} annotations have a {key} that the file does not list',
                           f'{remedy}, or remove them',
                           [f'annotation {annotation["id"]}: {key} {annotation[key]}' for annotation in lost])


def _check_boxes(report: Report, path: Path, annotations, images: dict[int, dict]) -> None:
    """Boxes without size, and boxes that are not inside their image.

    Of no size is what mmdet's CocoDataset drops: narrower or lower than one pixel, or without area. Rounding may take a
    box over the edge by less than a pixel.
    """
    empty, outside, across = [], [], []
    for annotation in annotations:
        if annotation['image_id'] not in images:
            continue
        x, y, width, height = annotation['bbox']
        image = images[annotation['image_id']]
        if width < 1 or height < 1 or annotation['area'] <= 0:
            empty.append(annotation)
        elif x >= image['width'] or y >= image['height'] or x + width <= 0 or y + height <= 0:
            outside.append(annotation)
        elif min(x, y) <= -1 or x + width >= image['width'] + 1 or y + height >= image['height'] + 1:
            across.append(annotation)
    for found, what, consequence in ((empty, 'have no size', 'training drops them'),
                                     (outside, 'lie outside their image', 'training drops them'),
                                     (across, "cross their image's edge", 'training cuts them')):
        if not found:
            continue
        names = [_box_name(annotation, images[annotation['image_id']]) for annotation in found]
        message = f'{path}: {len(names)} of {len(annotations)} boxes {what}; {consequence}'
        if len(names) <= _DROPPED * len(annotations):
            report.note(message, names)
        else:
            report.problem(message, 'boxes are [left, top, width, height] in pixels: fix or remove them', names)


def _box_name(annotation: dict, image: dict) -> str:
    return (f'annotation {annotation["id"]} in {image["file_name"]}: box {annotation["bbox"]}, area '
            f'{annotation["area"]}, image {image["width"]}x{image["height"]}')


def _check_classes(report: Report, layout: CocoLayout, classes: dict[str, list[tuple[int, str]]],
                   subset: bool) -> None:
    for split, found in ({} if subset else classes).items():
        if layout.classes is None:
            wanted, whose = _coco_classes(), "COCO's 80"
        else:  # under whatever ids
            names = [name for _, name in found]
            wanted = found if names == list(layout.classes) else list(enumerate(layout.classes, start=1))
            whose = f'{layout.name}\'s {len(layout.classes)}'
        if found != wanted:
            report.problem(f'{split}: the classes are not {whose}',
                           f'{layout.annotations}; for data of your own say --subset, and set the classes in '
                           'the config', _differences(found, wanted))
    splits = list(classes)
    if len(splits) == 2 and classes[splits[0]] != classes[splits[1]]:
        report.problem(f'{splits[0]} and {splits[1]} list different classes, or in another order',
                       'labels follow the list: use the same in both files',
                       _differences(classes[splits[0]], classes[splits[1]]))


def _coco_classes() -> list[tuple[int, str]]:
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights
    # As COCO's files list them: the position is the id, unused ids are N/A.
    names = FasterRCNN_ResNet50_FPN_Weights.DEFAULT.meta['categories']
    return [(number, name) for number, name in enumerate(names) if name not in ('__background__', 'N/A')]


def _differences(found: list[tuple[int, str]], wanted: list[tuple[int, str]]) -> list[str]:
    lacking = [f'lacking: {number} {name}' for number, name in wanted if (number, name) not in found]
    more = [f'more: {number} {name}' for number, name in found if (number, name) not in wanted]
    return lacking + more or ['the same classes in another order']


def _check_images(report: Report, split: str, folder: Path, images: dict[int, dict], reading: Reading,
                  remedy: str) -> int:
    sizes = {str(folder / image['file_name']): (image['width'], image['height']) for image in images.values()}

    def read(path: str) -> None:
        height, width = read_whole_image(path).shape[:2]
        if (width, height) != sizes[path]:
            raise ValueError(f'is {width}x{height}, the annotation file says {sizes[path][0]}x{sizes[path][1]}')

    return len(check_files(report, split, list(sizes), 'images', remedy, reading, read))
