"""The mini data's three layouts on disk: COCO 2017, VOC 2012, and a folder for each class."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from .label_maps import VOID, palette_png
from .scenes import MINI_CLASSES, paint_crop, paint_scene

TASKS = ('detection', 'segmentation', 'classification')
SPLITS = ('train', 'val')

SCENE_SIDE = 320
CROP_SIDE = 64
LEAST_DIGITS, MOST_DIGITS = 3, 7
JPEG_QUALITY = 85


class Writer:
    """Writes files below a folder.

    Attributes:
        digests: SHA-256 of every file written, by its path below the folder.
        provenance: for every image, its photograph and the pairs (glyph, class) of its digits.
    """

    def __init__(self, folder, progress, total):
        self.folder = folder
        self.digests = {}
        self.provenance = {}
        self._progress = progress
        self._total = total

    def bytes(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.digests[name] = hashlib.sha256(content).hexdigest()

    def json(self, name, content):
        self.bytes(name, (json.dumps(content) + '\n').encode())

    def scene(self, name, scene):
        suffix = Path(name).suffix
        options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY) if suffix == '.jpg' else ()
        self.bytes(name, cv2.imencode(suffix, scene.image, options)[1].tobytes())
        self.provenance[name] = {'photograph': scene.photograph,
                                 'glyphs': [(digit.glyph, digit.label) for digit in scene.digits]}
        if self._progress:
            self._progress(len(self.provenance), self._total)


def write_coco(writer, sources, seed, split, count):
    """``count`` scenes of 320x320 with boxes and masks, as ``coco/``."""
    images, annotations = [], []
    for number in range(1, count + 1):
        rng = _random(seed, 'detection', split, number)
        scene = paint_scene(rng, sources, (SCENE_SIDE, SCENE_SIDE), _digit_count(rng))
        name = f'{number:012d}.jpg'
        writer.scene(f'coco/{split}2017/{name}', scene)
        images.append({'id': number, 'file_name': name, 'height': SCENE_SIDE, 'width': SCENE_SIDE})
        for digit in scene.digits:
            height, width = digit.mask.shape
            annotations.append({
                'id': len(annotations) + 1, 'image_id': number, 'category_id': digit.label + 1,
                'bbox': [digit.x, digit.y, width, height], 'area': int(digit.mask.sum()), 'iscrowd': 0,
                'segmentation': _run_lengths(digit, scene.image.shape[:2])})
    writer.json(f'coco/annotations/instances_{split}2017.json', {
        'info': {'description': f'MobileODE mini data, {split}, seed {seed}'},
        'licenses': [],
        'categories': [{'id': i, 'name': name, 'supercategory': 'digit'}
                       for i, name in enumerate(MINI_CLASSES, start=1)],
        'images': images, 'annotations': annotations})


def write_voc(writer, sources, seed, split, count):
    """``count`` scenes of varied sizes with label maps, as ``VOCdevkit/VOC2012/``."""
    root = 'VOCdevkit/VOC2012'
    names = []
    for number in range(1, count + 1):
        rng = _random(seed, 'segmentation', split, number)
        size = int(rng.integers(240, 361)), int(rng.integers(240, 401))
        scene = paint_scene(rng, sources, size, _digit_count(rng))
        names.append(f'{split}_{number:06d}')
        writer.scene(f'{root}/JPEGImages/{names[-1]}.jpg', scene)
        writer.bytes(f'{root}/SegmentationClass/{names[-1]}.png', palette_png(_label_map(scene)))
    listing = ''.join(f'{name}\n' for name in names)
    writer.bytes(f'{root}/ImageSets/Segmentation/{split}.txt', listing.encode())


def write_class_folders(writer, sources, seed, split, count):
    """``count`` images of 64x64 with one digit each, the classes in turn, as ``classification/``."""
    for number in range(1, count + 1):
        label = (number - 1) % len(MINI_CLASSES)
        scene = paint_crop(_random(seed, 'classification', split, number), sources, label, CROP_SIDE)
        writer.scene(f'classification/{split}/{MINI_CLASSES[label]}/{number:06d}.png', scene)


def _random(seed, task, split, number):
    """Every image has a generator of its own, so that the others' number does not change it."""
    entropy = (seed, TASKS.index(task), SPLITS.index(split), number)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _digit_count(rng):
    return int(rng.integers(LEAST_DIGITS, MOST_DIGITS + 1))


def _inside(array, digit):
    height, width = digit.mask.shape
    return array[digit.y:digit.y + height, digit.x:digit.x + width]


def _run_lengths(digit, size):
    """A mask as COCO's uncompressed RLE: lengths of the runs down the columns, the first a run of zeros.

    Polygons would fill the holes of 0, 6, 8 and 9.
    """
    mask = np.zeros(size, bool)
    _inside(mask, digit)[...] = digit.mask
    column = mask.ravel(order='F')
    # Digits keep clear of the image's edge, so the first run is never empty.
    starts = np.flatnonzero(column[1:] != column[:-1]) + 1
    return {'size': list(size), 'counts': np.diff(starts, prepend=0, append=column.size).tolist()}


def _label_map(scene):
    labels = np.zeros(scene.image.shape[:2], np.uint8)
    for digit in scene.digits:
        _inside(labels, digit)[digit.mask] = digit.label + 1
    # As in VOC, the pixels on both sides of an edge count for no class.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    labels[cv2.dilate(labels, cross) != cv2.erode(labels, cross)] = VOID
    return labels
