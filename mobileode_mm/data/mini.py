"""Mini data for the three tasks, in the layouts of COCO 2017, VOC 2012 and class folders, made in seconds."""

import hashlib
import json
from pathlib import Path

from ..errors import InputError
from .finished import finished_folder
from .layouts import SPLITS, TASKS, Writer, write_class_folders, write_coco, write_voc
from .originals import load_sources
from .scenes import MINI_CLASSES

#: Numbers of train and val images.
COUNTS = {'detection': (800, 100), 'segmentation': (400, 60), 'classification': (12000, 500)}
#: Raised whenever the same parameters would give other bytes.
VERSION = 2
MARKER = 'mini.json'
CHECKSUMS = 'SHA256SUMS'
PROVENANCE = 'provenance.json'

_WRITE = {'detection': write_coco, 'segmentation': write_voc, 'classification': write_class_folders}


def make_mini_data(out, seed=0, detection=COUNTS['detection'], segmentation=COUNTS['segmentation'],
                   classification=COUNTS['classification'], progress=None):
    """Make real handwriting on real photographs, for detection, segmentation and classification.

    Layout below ``out``::

        coco/annotations/instances_{train,val}2017.json, coco/{train,val}2017/*.jpg     boxes and masks (RLE)
        VOCdevkit/VOC2012/JPEGImages/*.jpg, SegmentationClass/*.png                     0 ground, 1-10 digits,
        VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt                        255 edge
        classification/{train,val}/{zero,...,nine}/*.png
        provenance.json    photograph and glyphs of every image
        SHA256SUMS         of all the above
        mini.json          parameters; its presence says that the folder is complete

    train and val share neither a glyph nor a photograph, whatever the seeds. An item depends on the seed, its
    task, split and number only, so a larger set begins with the smaller one. The folder appears when all is
    done and not before. The same parameters give the same bytes (with the same versions of the packages).

    Args:
        out (str | Path): the folder to make. An empty folder may exist there.
        seed (int): not negative.
        detection, segmentation, classification (tuple[int, int]): numbers of train and val images.
        progress (callable, optional): called as ``progress(done, total)`` after every image.

    Returns:
        bool: True if the data was made, False if ``out`` already held the same data, complete and unchanged.

    Raises:
        InputError: a parameter cannot be used; scikit-learn or scikit-image is missing; ``out`` holds
            something else (which is left as it is) or cannot be written.
    """
    parameters = {'version': VERSION, 'seed': seed, 'detection': list(detection),
                  'segmentation': list(segmentation), 'classification': list(classification)}
    _check_parameters(parameters)
    out = Path(out).expanduser().resolve()
    if _is_made(out, parameters):
        return False

    sources = load_sources()
    with finished_folder(out) as folder:
        writer = Writer(folder, progress, sum(sum(parameters[task]) for task in TASKS))
        for task in TASKS:
            for split, count in zip(SPLITS, parameters[task], strict=True):
                _WRITE[task](writer, sources[split], seed, split, count)
        writer.json(PROVENANCE, {
            'photographs': {split: sources[split].photograph_names() for split in SPLITS},
            'glyphs': {split: sources[split].glyph_indices() for split in SPLITS},
            'pictures': writer.provenance})
        sums = ''.join(f'{digest}  {name}\n' for name, digest in sorted(writer.digests.items()))
        writer.bytes(CHECKSUMS, sums.encode())
        writer.json(MARKER, {**parameters, 'classes': MINI_CLASSES, 'sha256': writer.digests[CHECKSUMS]})
    return True


def _check_parameters(parameters):
    if not isinstance(parameters['seed'], int) or parameters['seed'] < 0:
        raise InputError(f'seed must be a whole number from 0 on, got {parameters["seed"]!r}')
    for task in TASKS:
        counts = parameters[task]
        least = len(MINI_CLASSES) if task == 'classification' else 1
        if len(counts) != 2 or not all(isinstance(count, int) and count >= least for count in counts):
            raise InputError(f'{task} takes two whole numbers, of train and of val images, each at least '
                             f'{least}, got {counts}')


def _is_made(out, parameters):
    """Whether ``out`` is the finished data of these parameters; InputError if it is anything else."""
    try:
        if not out.exists() or out.is_dir() and not any(out.iterdir()):
            return False
    except OSError as error:
        raise InputError(f'cannot look into {out} ({error.strerror}); '
                         f'choose another folder with --out') from error
    keep = 'nothing there was changed: move or delete it, or choose another folder with --out'
    try:
        marker = json.loads((out / MARKER).read_text())
        made_of = {key: marker[key] for key in parameters}
        sums_digest = marker['sha256']
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f'{out} exists and is not mini data; {keep}') from None
    if made_of != parameters:
        different = ', '.join(f'{key} {made_of[key]} (wanted: {parameters[key]})' for key in parameters
                              if made_of[key] != parameters[key])
        raise InputError(f'{out} holds mini data made with {different}; {keep}')
    damaged = _first_damaged(out, sums_digest)
    if damaged:
        raise InputError(f'{out} holds mini data whose file {damaged} is missing or changed; {keep}')
    return True


def _first_damaged(out, sums_digest):
    if _digest_of_file(out / CHECKSUMS) != sums_digest:
        return CHECKSUMS
    for line in (out / CHECKSUMS).read_text().splitlines():
        digest, name = line.split('  ', 1)
        if _digest_of_file(out / name) != digest:
            return name
    return None


def _digest_of_file(path):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
