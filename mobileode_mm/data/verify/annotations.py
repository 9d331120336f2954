"""What is wrong inside a COCO annotation file: entries, ids, references, boxes."""
import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from ..json_file import without_collector
from .report import Finding

_KEYS = {'images': ('id', 'file_name', 'height', 'width'), 'categories': ('id', 'name'),
         'annotations': ('id', 'image_id', 'category_id', 'bbox')}
#: COCO itself has a few boxes that training drops (cocodataset/cocoapi issue 355): up to this share is no problem.
_DROPPED = 1e-3
#: Boxes over the edge may be sloppy; with this share of them it is asked whether they are in another form. Where that
#: is so for fewer boxes than ``_SURE``, it may be chance.
_MANY_ACROSS = 0.05
_SURE = 3
_BOX_REMEDY = 'boxes are [left, top, width, height] in pixels: fix or remove them'
#: Other forms of a box, as [left, top, width, height] of their four columns.
_FORMS = {
    '[left, top, right, bottom]': lambda a, b, c, d: (a, b, c - a, d - b),
    '[centre x, centre y, width, height]': lambda a, b, c, d: (a - c / 2, b - d / 2, c, d),
}


def check_file(path: str, document, strict: bool = False, remedy: str = 'fix or remove them, or export the file again',
               wanted: tuple[str, ...] = tuple(_KEYS)) -> Iterator[Finding]:
    """All of this module: lists, entries, ids, references, boxes. What builds on entries that are broken is left out.

    Args:
        path: The annotation file, for messages.
        document: What it holds.
        strict: As for :func:`check_boxes`.
        remedy: What to do about entries and references.
        wanted: Lists that must be there.
    """
    absent = absent_lists(document, wanted)
    if absent:
        lists = ' and no list '.join(f'"{key}"' for key in absent)
        yield Finding(f'{path} is no COCO annotation file: it has no list {lists}')
        return
    with without_collector():
        kept, findings = usable_entries(path, document, remedy)
        if not findings:
            findings = [*check_ids(path, kept), *check_references(path, kept, remedy), *check_boxes(path, kept, strict)]
    yield from findings


def absent_lists(document, wanted: tuple[str, ...] = tuple(_KEYS)) -> list[str]:
    """Those of the lists of a COCO file that ``document`` does not have."""
    return [key for key in wanted if not isinstance(document, dict) or not isinstance(document.get(key), list)]


def usable_entries(path: str, document: dict, remedy: str) -> tuple[dict[str, list[dict]], list[Finding]]:
    """The entries of the file's lists that have their keys, and findings about the others.

    Args:
        path: The annotation file, for messages.
        document: What it holds.
        remedy: How to get it whole.
    """
    kept, findings = {}, []
    for key in _KEYS:
        entries = document.get(key) or []
        faults = {} if key == 'annotations' and _all_whole(entries) else {
            number: fault for number, entry in enumerate(entries) if (fault := _fault(key, entry))}
        if faults:
            findings.append(Finding(
                f'{path}: {len(faults)} of {len(entries)} entries of "{key}" cannot be used', remedy,
                tuple(f'{key}[{number}] {fault}' for number, fault in faults.items())))
        kept[key] = [entry for number, entry in enumerate(entries) if number not in faults] if faults else entries
    return kept, findings


def check_ids(path: str, document: dict) -> Iterator[Finding]:
    """Ids that several entries have, and images and classes under several ids."""
    for key in _KEYS:
        ids = [entry['id'] for entry in document[key]]
        twice = _repeated(ids)
        if twice:
            yield Finding(f'{path}: {len(twice)} ids of "{key}" occur more than once', 'give each entry an id of its '
                          'own', tuple(f'{key} id {number}' for number in twice))
    images, categories = ({entry['id']: entry for entry in document[key]} for key in ('images', 'categories'))
    for what, names in (('file names', [image['file_name'] for image in images.values()]),
                        ('class names', [category['name'] for category in categories.values()])):
        twice = _repeated(names)
        if twice:
            yield Finding(f'{path}: {len(twice)} {what} occur under more than one id', 'leave one entry of each',
                          tuple(map(str, twice)))


def check_references(path: str, document: dict, remedy: str) -> Iterator[Finding]:
    """Annotations of images and of classes that the file does not list."""
    for key, known in (('image_id', 'images'), ('category_id', 'categories')):
        ids = {entry['id'] for entry in document[known]}
        lost = [annotation for annotation in document['annotations'] if annotation[key] not in ids]
        if lost:
            yield Finding(f'{path}: {len(lost)} annotations have a {key} that the file does not list', remedy, tuple(
                f'annotation {annotation["id"]}: {key} {annotation[key]!r}' for annotation in lost))


def check_boxes(path: str, document: dict, strict: bool) -> Iterator[Finding]:
    """Boxes without size, boxes that are not inside their image, and boxes in another form than COCO's.

    Of no size is what mmdet's CocoDataset drops: narrower or lower than one pixel, or without area. Rounding may take a
    box over the edge by less than a pixel.

    Args:
        path: The annotation file, for messages.
        document: Its usable entries.
        strict: More than a few doubtful boxes are an error, as in a published set; else they are a warning as long as
            boxes remain.
    """
    images = {image['id']: image for image in document['images']}
    annotations = [annotation for annotation in document['annotations'] if annotation['image_id'] in images]
    if not annotations:
        return
    boxes = np.array([annotation['bbox'] for annotation in annotations], float)
    sizes = {number: (image['width'], image['height']) for number, image in images.items()}
    limits = np.array([sizes[annotation['image_id']] for annotation in annotations], float)
    areas = np.array([annotation.get('area', 1) for annotation in annotations], float)
    (x, y, width, height), (right, bottom) = boxes.T, limits.T
    empty = (width < 1) | (height < 1) | (areas <= 0)
    outside = ~empty & ((x >= right) | (y >= bottom) | (x + width <= 0) | (y + height <= 0))
    across = ~empty & ~outside & ~_inside(x, y, width, height, right, bottom)
    if (boxes >= 0).all() and (boxes <= 1).all():
        yield Finding(f'{path}: no box is larger than one pixel: they look like shares of the image\'s size, from 0 to '
                      '1', _BOX_REMEDY, _named(annotations[:3], images))
        return
    form = _other_form(boxes, right, bottom, (empty | outside | across).mean())
    if form:
        found = [annotations[number] for number in np.flatnonzero(empty | outside | across)]
        yield Finding(f'{path}: {len(found)} of {len(boxes)} boxes do not lie in their image, and all do when they are '
                      f'read as {form}', f'{_BOX_REMEDY}; these look like {form}', _named(found, images),
                      'error' if len(found) >= _SURE else 'warning')
        return
    usable = len(boxes) - int((empty | outside).sum())
    for mask, what, consequence in ((empty, 'have no size', 'training drops them'),
                                    (outside, 'lie outside their image', 'training drops them'),
                                    (across, "cross their image's edge", 'training cuts them')):
        if not mask.any():
            continue
        number = int(mask.sum())
        tolerated = number <= _DROPPED * len(boxes) if strict else usable > 0
        yield Finding(f'{path}: {number} of {len(boxes)} boxes {what}; {consequence}', '' if tolerated and strict else
                      _BOX_REMEDY, _named([annotations[i] for i in np.flatnonzero(mask)], images),
                      'warning' if tolerated else 'error')


def _all_whole(annotations: list) -> bool:
    """Whether every annotation has its keys and a box of four numbers, looked at all at once."""
    try:
        boxes = np.array([annotation['bbox'] for annotation in annotations])
        areas = np.array([annotation.get('area', 0) for annotation in annotations])
        kinds = {type(annotation[key]) for key in ('id', 'image_id', 'category_id') for annotation in annotations}
        crowds = {annotation.get('iscrowd', 0) for annotation in annotations}
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return (boxes.dtype.kind in 'if' and boxes.ndim == 2 and boxes.shape[1] == 4 and bool(np.isfinite(boxes).all())
            and areas.dtype.kind in 'if' and bool(np.isfinite(areas).all()) and kinds <= {int, str}
            and crowds <= {0, 1} and not any(isinstance(crowd, str) for crowd in crowds))


def _fault(key: str, entry) -> str:
    """What an entry lacks; empty where it is of use."""
    if not isinstance(entry, dict):
        return 'is no object with keys'
    for name in _KEYS[key]:
        if name not in entry:
            return f'lacks "{name}"'
    for name in ('height', 'width'):
        if key == 'images' and not (_is_whole(entry[name]) and entry[name] >= 1):
            return f'has "{name}" {entry[name]!r}'
    if key == 'images' and not isinstance(entry['file_name'], str):
        return f'has "file_name" {entry["file_name"]!r}'
    if key == 'annotations':
        numbers = [entry.get('area', 0), *(entry['bbox'] if isinstance(entry['bbox'], list) else [None])]
        if len(numbers) != 5 or not all(_is_number(x) and math.isfinite(x) for x in numbers):
            return f'has "bbox" {entry["bbox"]!r} and "area" {entry.get("area")!r}: four numbers and one are wanted'
        if entry.get('iscrowd', 0) not in (0, 1):
            return f'has "iscrowd" {entry["iscrowd"]!r}: 0 or 1 is wanted'
    ids = [entry[name] for name in _KEYS[key] if name == 'id' or name.endswith('_id')]
    if not all(isinstance(number, str) or _is_whole(number) for number in ids):
        return f'has an id that is neither a whole number nor a name: {ids}'
    return ''


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value) -> bool:
    """Whether this is a whole number, perhaps written as 7.0, as of columns of a table in which some were absent."""
    return isinstance(value, int) or isinstance(value, float) and value.is_integer()


def _repeated(values: list) -> list:
    if len(set(values)) == len(values):
        return []
    return [value for value, times in Counter(values).items() if times > 1]


def _inside(x, y, width, height, right, bottom) -> np.ndarray:
    """Whether boxes lie in their images, but for less than a pixel."""
    return (np.minimum(x, y) > -1) & (x + width < right + 1) & (y + height < bottom + 1)


def _other_form(boxes: np.ndarray, right: np.ndarray, bottom: np.ndarray, wrong: float) -> str:
    """The form in which all boxes lie in their images, where a share ``wrong`` of them does not as they are read."""
    if wrong < _MANY_ACROSS:
        return ''
    for form, convert in _FORMS.items():
        x, y, width, height = convert(*boxes.T)
        if ((width >= 1) & (height >= 1) & _inside(x, y, width, height, right, bottom)).all():
            return form
    return ''


def _named(annotations: list[dict], images: dict[int, dict]) -> tuple[str, ...]:
    return tuple(_box_name(annotation, images[annotation['image_id']]) for annotation in annotations)


def _box_name(annotation: dict, image: dict) -> str:
    return (f'annotation {annotation["id"]} in {image["file_name"]}: box {annotation["bbox"]}, area '
            f'{annotation.get("area", "absent")}, image {image["width"]}x{image["height"]}')
