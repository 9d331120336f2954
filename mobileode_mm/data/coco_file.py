"""COCO annotation files as training reads them: what converters leave out and can be derived is filled in."""
import os

from .json_file import read_json


def read_coco(path: str | os.PathLike) -> tuple[dict, dict[str, list]]:
    """Read an annotation file and fill in what it leaves out.

    Args:
        path: The file; a byte-order mark is passed over.

    Returns:
        What it holds, which need not be a COCO document, and what :func:`complete` filled in.

    Raises:
        InputError: It cannot be read.
    """
    document = read_json(path)
    return document, complete(document)


def complete(document: dict) -> dict[str, list]:
    """Fill in, in place, what pycocotools and mmdet need of each annotation and what can be derived.

    - ``iscrowd`` is 0 where it is absent, and a number where it is a text or a truth value (mmdet takes ``"0"`` for
      true).
    - ``area`` is that of the box where it is absent or not above 0 (mmdet drops such an object).
    - ``id`` 0 becomes a free number: COCO's evaluation takes it for "no match" and counts a hit as a miss. Where one is
      no whole number, such as a text, all are numbered from 1: the evaluation keeps them as numbers.

    What is no annotation, or has no usable box, is left for the checks.

    Returns:
        By what was filled in, the ids of the annotations.
    """
    annotations = document.get('annotations') if isinstance(document, dict) else None
    filled: dict[str, list] = {}
    zero, is_other = None, False
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict):
            continue
        crowd = annotation.get('iscrowd')
        if type(crowd) is not int:
            if crowd is None or isinstance(crowd, bool) or crowd in ('0', '1'):
                annotation['iscrowd'] = int(crowd or 0)
                filled.setdefault('"iscrowd"', []).append(annotation.get('id'))
        area = annotation.get('area')
        if area is None or isinstance(area, (int, float)) and area <= 0:
            box = annotation.get('bbox')
            if _is_box(box) and box[2] > 0 and box[3] > 0:
                annotation['area'] = box[2] * box[3]
                filled.setdefault('"area"', []).append(annotation.get('id'))
        number = annotation.get('id')
        if type(number) is not int:
            is_other = is_other or number is not None
        elif number == 0:
            zero = annotation
    if is_other:
        filled['"id" as a whole number'] = numbers = []
        for number, annotation in enumerate(annotations, 1):
            if isinstance(annotation, dict):
                annotation['id'] = number
                numbers.append(number)
    elif zero is not None:
        zero['id'] = 1 + max(entry['id'] for entry in annotations
                             if isinstance(entry, dict) and isinstance(entry.get('id'), int))
        filled['"id" 0'] = [zero['id']]
    return filled


def _is_box(box) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(side, (int, float)) for side in box)
