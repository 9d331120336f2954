"""Run an exported detector, segmentor or classifier: ``python run_onnx.py MODEL IMAGE...``.

Needs onnxruntime, numpy and Pillow, and nothing else: take the file along with the model. Prints one JSON line for each
image. All that it has to know is in the model's metadata. An image that cannot be used is named and skipped (status 1),
a model or a folder that cannot is refused (status 2), and nothing that exists is written over.
"""
import argparse
import json
import os
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

OUTPUTS = dict(detection=('boxes', 'scores', 'labels'), segmentation=('mask', ), classification=('scores', ))
#: How many values each step of the preparation may have; 0 is one that is no list.
STEPS = dict(resize=[2], fit=[2], short_side=[0], crop=[2], letterbox=[2, 5], scale=[0])
#: How the steps behind a step ``method`` resize; the first is that of those before any.
METHODS = ('opencv bilinear', 'opencv bicubic', 'pillow bilinear', 'pillow bicubic')
#: Pixels of the largest image that is read or made: Pillow's own limit.
MOST_PIXELS = 2 * Image.MAX_IMAGE_PIXELS


class Refused(Exception):
    """Something given cannot be used; the message is for the user."""


#: A file that runs: ``call(image)`` gives the outputs of (1, H, W, 3) by their names.
Network = namedtuple('Network', 'task classes steps call')


def open_model(path, custom_ops=None):
    """The network in an ONNX file."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    try:
        if custom_ops:
            options.register_custom_ops_library(str(Path(custom_ops).resolve()))
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime has a type for each way in which a file can be faulty
        raise Refused(f'{path} cannot be loaded: {first_line(error)}') from error
    task, classes, steps = facts(path, session.get_modelmeta().custom_metadata_map)
    if 'tiles' in session.get_modelmeta().custom_metadata_map:
        raise Refused(f'{path} sees images tile by tile; `mobileode run` takes such files')
    inputs, names = ([one.name for one in values] for values in (session.get_inputs(), session.get_outputs()))
    missing = {*OUTPUTS[task]} - {*names}
    if missing == {'labels'}:
        raise Refused(f'{path} was exported without --with-nms: its raw boxes are of no use here; `mobileode run` '
                      'takes them')
    if missing or inputs != ['image']:
        raise Refused(f'{path} has not the input and outputs of a {task}')
    return Network(task, classes, steps, lambda image: dict(zip(names, session.run(None, {'image': image}))))


def facts(path, meta):
    """Of a file's metadata the task, the classes and the steps of preparation."""
    try:
        task, classes, steps = meta['task'], json.loads(meta['classes']), json.loads(meta['prepare'])
        OUTPUTS[task]
    except (KeyError, ValueError, RecursionError) as error:
        raise Refused(f'{path} was not written by `mobileode export`: its metadata have no task, classes and steps of '
                      'preparation that this program knows') from error
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise Refused(f'{path}: its classes are no list of names')
    if not isinstance(steps, list) or not all(map(is_step, steps)):
        raise Refused(f'{path}: its steps of preparation are none that this program knows; take the one of its version')
    return task, classes, steps


def is_step(step):
    """Whether this is one step of preparation, with its values."""
    if not isinstance(step, dict) or len(step) != 1:
        return False
    (kind, values), = step.items()
    if kind == 'method':
        return values in METHODS
    count, values = (len(values), values) if isinstance(values, list) else (0, [values])
    return count in STEPS.get(kind, []) and all(
        type(value) in (int, float) and (value > 0 if place < 2 else 0 <= value <= 255)  # two sides, then a colour
        for place, value in enumerate(values))


def read(path):
    """Pixels (H, W, 3), uint8, RGB, of the upright image; of grey in 16 bits the upper 8, as in training."""
    image = Image.open(path)
    if image.format != 'WEBP':  # which OpenCV, and so training, leaves as it is
        image = ImageOps.exif_transpose(image)
    if image.mode in ('I', 'F'):
        raise ValueError('Pillow reads its pixels as numbers of 32 bits')
    if image.mode.startswith('I;16'):  # Pillow would make white of all that is not dark
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert('RGB'))


def resize(image, height, width, method):
    """By the method that the network was trained with: Pillow smooths where it makes smaller, OpenCV does not."""
    if height * width > MOST_PIXELS:
        raise ValueError(f'its preparation makes {width} x {height} pixels of it')
    program, kernel = method.split()
    if program == 'pillow':
        return np.asarray(Image.fromarray(image).resize((width, height), getattr(Image, kernel.upper())))
    image = image.astype(np.float32)
    rows = sum(image[:, place] * share[:, None] for place, share in taps(image.shape[1], width, kernel))
    whole = sum(rows[place] * share[:, None, None] for place, share in taps(image.shape[0], height, kernel))
    return whole.round().clip(0, 255).astype(np.uint8)


def taps(size, new, kernel):
    """OpenCV's: the old places that make the new ones, and the share of each."""
    place = (np.arange(new) + 0.5) * size / new - 0.5
    low = np.floor(place).astype(int)
    rest = place - low
    if kernel == 'bilinear':
        shares = [(0, 1 - rest), (1, rest)]
    else:
        before, here, after = (((-0.75 * (rest + 1) + 3.75) * (rest + 1) - 6) * (rest + 1) + 3,
                               *((1.25 * part - 2.25) * part * part + 1 for part in (rest, 1 - rest)))
        shares = [(-1, before), (0, here), (1, after), (2, 1 - before - here - after)]
    return [((low + offset).clip(0, size - 1), share) for offset, share in shares]


def fitted(size, box):
    """Height and width of an image of a size inside a letterbox."""
    scale = min(box[0] / size[0], box[1] / size[1])
    return tuple(max(1, int(side * scale + 0.5)) for side in size)


def prepare(image, steps):
    """The network's image, and the height and width of its part that is not padding."""
    used, method = image.shape[:2], METHODS[0]
    for step in steps:
        (kind, value), (height, width) = *step.items(), image.shape[:2]
        if kind == 'method':
            method = value
        elif kind == 'resize':
            image = resize(image, *value, method)
        elif kind == 'fit':
            scale = min(value[0] / max(height, width), value[1] / min(height, width))
            image = resize(image, int(height * scale + 0.5), int(width * scale + 0.5), method)
        elif kind == 'short_side':
            new_height, new_width = max(value, int(value * height / width)), max(value, int(value * width / height))
            image = resize(image, new_height, new_width, method)
        elif kind == 'scale':
            image = resize(image, int(height * value + 0.5), int(width * value + 0.5), method)
        elif kind == 'crop':
            top, left = (max(0, round((have - want) / 2)) for have, want in zip((height, width), value))
            image = image[top:top + value[0], left:left + value[1]]
        used = image.shape[:2]
        if kind == 'letterbox':
            used = fitted((height, width), value)
            resized, image = resize(image, *used, method), np.full((*value[:2], 3), value[2:] or 0, np.uint8)
            image[:used[0], :used[1]] = resized
    return image, used


def result(outputs, task, classes, used, size, threshold):
    """What was found, in pixels of the image of ``size`` (height, width); of a segmentor, with its mask."""
    if any(values.dtype.kind == 'f' and np.isnan(values).any() for values in outputs.values()):
        raise ValueError('the network gives NaN')
    if task == 'classification':
        scores = outputs['scores'][0]
        return dict(label=classes[scores.argmax()], score=float(scores.max())), None
    if task == 'segmentation':
        mask = outputs['mask'][0, :used[0], :used[1]]
        mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.NEAREST))
        return dict(pixels={classes[label]: int((mask == label).sum()) for label in np.unique(mask)}), mask
    boxes, scores = outputs['boxes'][0], outputs['scores'][0]
    boxes = (boxes / [used[1], used[0], used[1], used[0]]).clip(0, 1) * [size[1], size[0], size[1], size[0]]
    found = zip(boxes, scores, outputs['labels'][0])
    return dict(boxes=[dict(label=classes[label], score=float(score), box=[round(float(side), 2) for side in box])
                       for box, score, label in found if score >= threshold and label >= 0]), None


def save_mask(folder, path, mask):
    """Write a mask under the image's name, with a number where another image has that name."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, number = printable(Path(path).stem), 1
    while True:
        file = folder / (f'{stem}.png' if number == 1 else f'{stem}_{number}.png')
        try:
            with open(file, 'xb') as target:
                Image.fromarray(mask).save(target, 'png')
            return
        except FileExistsError:
            number += 1


def printable(name):
    """The name of a file, with an escape for each byte that is no UTF-8."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


def check_arguments(task, path, score_thr, masks):
    """Refuse a score that is none, and masks where there are none, or where something is already."""
    if not 0 <= score_thr <= 1:
        raise Refused(f'--score-thr {score_thr}: a number from 0 to 1 is wanted')
    if masks and task != 'segmentation':
        raise Refused(f'--masks: {path} is of a {task}, which has none')
    if masks and masks.exists() and (not masks.is_dir() or any(masks.iterdir())):
        raise Refused(f'{masks} exists already and is not overwritten; remove it, or choose another for --masks')


def run(network, images, score_thr, masks):
    """Print what is on each image, and write masks into a folder; returns the exit status."""
    status = 0
    for path in images:
        try:
            image = read(path)
            prepared, used = prepare(image, network.steps)
            outputs = network.call(prepared[None])
            found, mask = result(outputs, network.task, network.classes, used, image.shape[:2], score_thr)
        except Exception as error:  # Pillow and runtimes raise errors of every kind
            print(f'skipped: {printable(path)}: {first_line(error)}', file=sys.stderr)
            status = 1
            continue
        if masks:
            save_mask(masks, path, mask)
        print(json.dumps(dict(image=printable(path), **found)), flush=True)
    return status


def main():
    parser = argparse.ArgumentParser(description='Run an exported network; prints a JSON line for each image.')
    parser.add_argument('model')
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('--score-thr', type=float, default=0.3, help='leave out boxes under this score (default: 0.3)')
    parser.add_argument('--masks', type=Path, metavar='FOLDER',
                        help='write the masks of a segmentor there, as PNG; a folder that holds anything is left alone')
    parser.add_argument('--custom-ops', metavar='LIB', help='library of the operators of a .ops.onnx file (.ops.so)')
    try:
        args = parser.parse_args()
        network = open_model(args.model, args.custom_ops)
        check_arguments(network.task, args.model, args.score_thr, args.masks)
        return run(network, args.images, args.score_thr, args.masks)
    except Refused as error:
        message, status = f'error: {error}', 2
    except OSError as error:  # a disk that is full, a folder that cannot be made
        message, status = f'error: cannot write: {error}', 2
    except KeyboardInterrupt:
        message, status = 'stopped', 130
    print(message, file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
