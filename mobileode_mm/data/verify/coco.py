"""COCO 2017 for detection: annotation files and images."""

import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ..json_file import read_json
from ..places import find_below
from .annotations import absent_lists, check_boxes, check_ids, check_references, usable_entries
from .files import READ_ALL, Reading, check_files, read_whole_image
from .report import Report

#: Images and annotations of each split as published.
PUBLISHED = {'train2017': (118_287, 860_001), 'val2017': (5_000, 36_781)}
ANNOTATIONS = 'http://images.cocodataset.org/annotations/annotations_trainval2017.zip'


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
        report.add(*check_ids(str(path), document))
        report.add(*check_references(str(path), document, f'{layout.annotations}, or remove them'))
        report.add(*check_boxes(str(path), document, strict=True))
        images, categories, annotations = (
            {entry['id']: entry for entry in document[key]} for key in ('images', 'categories', 'annotations'))
        classes[split] = [(number, category['name']) for number, category in categories.items()]
        counts = {}
        if published is not None and not subset:
            report.compare(split, 'images', len(images), published[0])
            report.compare(split, 'annotations', len(annotations), published[1])
            counts = {'published': published[0]}
        crowds = sum(bool(annotation.get('iscrowd')) for annotation in annotations.values())
        row = {'split': split, 'images': len(images), **counts, 'objects': len(annotations) - crowds, 'crowds': crowds,
               'images without': len(images.keys() - {annotation['image_id'] for annotation in annotations.values()}),
               'classes': len(categories)}
        report.rows.append(row)
        row['read'] = _check_images(report, split, root / split, images, reading, layout.images.format(split=split))
    _check_classes(report, layout, classes, subset)
    return report


def _read(report: Report, path: Path, remedy: str) -> dict[str, list[dict]] | None:
    """The annotation file's entries that have their keys; None where it cannot be used at all."""
    if not path.exists():
        report.problem(f'there is no {path}', remedy)
        return None
    try:
        document = read_json(path)
    except InputError as error:
        report.problem(str(error), remedy)
        return None
    absent = absent_lists(document)
    if absent:
        report.problem(f'{path} is no annotation file of COCO: it has no list {" and no list ".join(absent)}', remedy)
        return None
    kept, findings = usable_entries(str(path), document, remedy)
    report.add(*findings)
    for key in kept:
        if not document[key]:
            report.problem(f'{path}: its list "{key}" is empty', remedy)
    return kept


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
