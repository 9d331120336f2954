"""Data sets in COCO's format that the release trains detectors on: BUSI and faces."""

import os

from .coco import CocoLayout, verify_coco_layout
from .files import READ_ALL, Reading
from .report import Report

#: The format is the release's. Its file names, splits and classes are not known; these are the configs'.
_SPLITS = dict.fromkeys(('train', 'val'))
_REMEDY = 'convert the set again, to the layout of docs/data.md'
BUSI = CocoLayout('BUSI', 'busi', _SPLITS, ('benign', 'malignant'), _REMEDY, _REMEDY)
FACES = CocoLayout('faces', 'faces', _SPLITS, ('face', ), _REMEDY, _REMEDY)


def verify_busi(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """Check ``annotations/instances_{train,val}.json`` and the images in ``train`` and ``val``.

    Args:
        root: The folder that holds these three.
        subset: Do not compare the classes.
        reading: How images are read.

    Raises:
        InputError: There is no such folder.
    """
    return verify_coco_layout(BUSI, root, subset, reading)


def verify_faces(root: str | os.PathLike, subset: bool = False, reading: Reading = READ_ALL) -> Report:
    """As :func:`verify_busi`, with the one class ``face``."""
    return verify_coco_layout(FACES, root, subset, reading)
