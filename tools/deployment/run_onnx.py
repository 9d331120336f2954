"""Run an exported detector, segmentor or classifier: ``python run_onnx.py MODEL IMAGE...``.

Needs onnxruntime, numpy and Pillow, and nothing else: take the file along with the model. Prints one JSON line for each
image. All that it has to know is in the model's metadata.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path):
    """Pixels (H, W, 3), uint8, RGB, of the upright image."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB'))


def resize(image, height, width):
    """Bilinear without antialiasing, as OpenCV has it and the network was trained with; Pillow would smooth."""
    def corners(size, new):
        place = ((np.arange(new) + 0.5) * size / new - 0.5).clip(0, size - 1)
        low = place.astype(int)
        return low, np.minimum(low + 1, size - 1), place - low

    top, bottom, down = corners(image.shape[0], height)
    left, right, across = corners(image.shape[1], width)
    image, across, down = image.astype(np.float32), across[:, None], down[:, None, None]
    rows = image[:, left] * (1 - across) + image[:, right] * across
    return (rows[top] * (1 - down) + rows[bottom] * down).round().astype(np.uint8)


def prepare(image, steps):
    """The network's image, and the height and width of its part that is not padding."""
    used = image.shape[:2]
    for step in steps:
        (kind, value), (height, width) = *step.items(), image.shape[:2]
        if kind == 'resize':
            image = resize(image, *value)
        elif kind == 'fit':
            scale = min(value[0] / max(height, width), value[1] / min(height, width))
            image = resize(image, int(height * scale + 0.5), int(width * scale + 0.5))
        elif kind == 'short_side':
            image = resize(image, max(value, int(value * height / width)), max(value, int(value * width / height)))
        elif kind == 'crop':
            top, left = (max(0, round((have - want) / 2)) for have, want in zip((height, width), value))
            image = image[top:top + value[0], left:left + value[1]]
        used = image.shape[:2]
        if kind == 'letterbox':
            scale = min(value[0] / height, value[1] / width)
            used = max(1, round(height * scale)), max(1, round(width * scale))
            image = np.pad(resize(image, *used), ((0, value[0] - used[0]), (0, value[1] - used[1]), (0, 0)))
    return image, used


def result(outputs, meta, used, size, threshold):
    """What was found, in pixels of the image of ``size`` (height, width)."""
    classes = json.loads(meta['classes'])
    if meta['task'] == 'classification':
        scores = outputs['scores'][0]
        return dict(label=classes[scores.argmax()], score=float(scores.max()))
    if meta['task'] == 'segmentation':
        mask = outputs['mask'][0, :used[0], :used[1]]
        mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.NEAREST))
        return dict(pixels={classes[label]: int((mask == label).sum()) for label in np.unique(mask)}), mask
    boxes, scores = outputs['boxes'][0], outputs['scores'][0]
    if 'labels' not in outputs:
        raise SystemExit('this detector was exported without --with-nms: its raw boxes are of no use here')
    boxes = (boxes / [used[1], used[0], used[1], used[0]]).clip(0, 1) * [size[1], size[0], size[1], size[0]]
    found = zip(boxes, scores, outputs['labels'][0])
    return dict(boxes=[dict(label=classes[label], score=float(score), box=[round(float(side), 2) for side in box])
                       for box, score, label in found if score >= threshold])


def main():
    parser = argparse.ArgumentParser(description='Run an exported network; prints a JSON line for each image.')
    parser.add_argument('model')
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('--score-thr', type=float, default=0.3, help='leave out boxes under this score (default: 0.3)')
    parser.add_argument('--masks', type=Path, metavar='FOLDER', help='write the masks of a segmentor there, as PNG')
    parser.add_argument('--custom-ops', metavar='LIB', help='library of the operators of a .ops.onnx file (.ops.so)')
    args = parser.parse_args()
    options = onnxruntime.SessionOptions()
    if args.custom_ops:
        options.register_custom_ops_library(str(Path(args.custom_ops).resolve()))
    session = onnxruntime.InferenceSession(args.model, options, providers=['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    names = [output.name for output in session.get_outputs()]
    status = 0
    for path in args.images:
        try:
            image = read(path)
        except OSError as error:
            print(f'skipped: {path}: {error}', file=sys.stderr)
            status = 1
            continue
        prepared, used = prepare(image, json.loads(meta['prepare']))
        outputs = dict(zip(names, session.run(None, {'image': prepared[None]})))
        found = result(outputs, meta, used, image.shape[:2], args.score_thr)
        if isinstance(found, tuple):
            found, mask = found
            if args.masks:
                args.masks.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(args.masks / f'{Path(path).stem}.png')
        print(json.dumps(dict(image=path, **found)))
    return status


if __name__ == '__main__':
    sys.exit(main())
