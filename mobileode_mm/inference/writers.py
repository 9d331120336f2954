"""What inference leaves on the disk: drawn images and videos, masks, one JSON file."""
import json
import os
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from ..analysis.drawing import LINE, NEUTRAL, class_colour, draw_label, with_boxes, with_classes
from ..data.label_maps import label_png
from ..data.names import free_name
from ..engine.atomic_backend import AtomicLocalBackend
from ..errors import InputError
from .inferencer import Boxes, ClassScores, Inferencer, LabelMap
from .sources import Frame

RESULT, PARTIAL = 'predictions.json', 'predictions.partial.jsonl'
#: Images whose longest side is shorter are enlarged to it before they are drawn on, so that a label can be read.
DRAWN_SIDE = 400
#: Longest side that a JPEG can have.
_JPEG_SIDE = 65_500
TOP = 5
#: Bytes of a file's name, of which systems take 255 with its number and ending.
_LONGEST_STEM = 200


class Writer:
    """Write predictions into a folder.

    Args:
        out: The folder: ``drawn/`` holds a JPEG for each image and an MP4 for each video, ``masks/`` a PNG with
            VOC's palette for each image and frame that was segmented (a grey one of 16 bits where there are more than
            256 classes), ``predictions.json`` the rest. Until that is written, ``predictions.partial.jsonl`` holds a
            line for each image that is done, so that a process that dies loses only the image it was at.
        inferencer: Where the predictions come from.
        score_thr: Boxes under this score are left out, of the drawing and of the JSON.
    """

    def __init__(self, out: str | Path, inferencer: Inferencer, score_thr: float):
        self.out, self.score_thr = Path(out), score_thr
        self.metainfo, self.task = inferencer.metainfo, inferencer.task
        #: The data set's id of each class, and a line where its annotation file does not tell them.
        self.category_ids, self.note = inferencer.category_ids() if self.task == 'detection' else ([], '')
        self._names, self._video = {}, None
        self._images, self._annotations = [], []
        self._partial = None

    def add(self, frame: Frame, found: Boxes | LabelMap | ClassScores) -> None:
        """Write what was found in an image or frame."""
        if isinstance(found, Boxes):
            keep = found.scores >= self.score_thr
            found = Boxes(*(values[keep] for values in found))
        height, width = frame.pixels.shape[:2]
        entry = dict(id=len(self._images) + 1, file_name=printable(frame.source.name), width=width, height=height)
        if frame.source.moving:
            entry['frame'] = frame.number
        boxes = []
        if isinstance(found, Boxes):
            boxes = self._coco(entry['id'], found)
        elif isinstance(found, LabelMap):
            entry.update(self._mask(frame, found))
        else:
            entry.update(self._classes(found))
        self._draw(frame, found)
        self._note({**entry, 'annotations': boxes} if self.task == 'detection' else entry)
        self._images.append(entry)
        self._annotations += boxes

    def close(self) -> Path:
        """Finish a video that is being written, and write the JSON file in the place of the partial one; returns its
        path."""
        self._close_video()
        classes = self.metainfo['classes']
        result = dict(images=self._images)
        if self.task == 'detection':
            result['annotations'] = self._annotations
            result['categories'] = [dict(id=number, name=name) for number, name in zip(self.category_ids, classes)]
        else:
            result['classes'] = list(classes)
        path = self.out / RESULT
        AtomicLocalBackend().put_text(json.dumps(result, ensure_ascii=False, indent=1), path)
        if self._partial is not None:
            self._partial.close()
            os.remove(self.out / PARTIAL)
        return path

    def _note(self, entry: dict) -> None:
        if self._partial is None:
            self.out.mkdir(parents=True, exist_ok=True)
            self._partial = open(self.out / PARTIAL, 'w', encoding='utf-8')
        print(json.dumps(entry, ensure_ascii=False), file=self._partial, flush=True)

    def _coco(self, image: int, found: Boxes) -> list[dict]:
        entries = []
        for (x1, y1, x2, y2), label, score in zip(found.bboxes.tolist(), found.labels.tolist(), found.scores.tolist()):
            entries.append(dict(
                id=len(self._annotations) + len(entries) + 1, image_id=image, category_id=self.category_ids[label],
                bbox=[round(side, 2) for side in (x1, y1, x2 - x1, y2 - y1)], area=round((x2 - x1) * (y2 - y1), 2),
                iscrowd=0, score=round(score, 5)))
        return entries

    def _mask(self, frame: Frame, found: LabelMap) -> dict:
        name = self._name(frame)
        path = Path('masks', name, f'{frame.number:06}.png') if frame.source.moving else Path('masks', f'{name}.png')
        AtomicLocalBackend().put(label_png(np.ascontiguousarray(found.labels)), self.out / path)
        labels, counts = np.unique(found.labels, return_counts=True)
        return dict(mask=str(path), pixels={
            self.metainfo['classes'][label]: int(count) for label, count in zip(labels, counts)})

    def _classes(self, found: ClassScores) -> dict:
        classes = self.metainfo['classes']
        best = np.argsort(-found.scores, kind='stable')[:TOP].tolist()
        top = [dict(label=label, name=classes[label], score=round(float(found.scores[label]), 5)) for label in best]
        return dict(**top[0], top=top)

    def _draw(self, frame: Frame, found: Boxes | LabelMap | ClassScores) -> None:
        drawn = draw_prediction(frame.pixels, found, self.metainfo)
        name = self._name(frame)
        folder = self.out / 'drawn'
        folder.mkdir(parents=True, exist_ok=True)
        if not frame.source.moving:
            self._close_video()
            Image.fromarray(drawn).save(folder / f'{name}.jpg', quality=95)
            return
        if not frame.number:
            self._close_video()
            size = drawn.shape[1], drawn.shape[0]
            self._video = cv2.VideoWriter(
                os.fspath(folder / f'{name}.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), frame.rate, size)
            if not self._video.isOpened():
                raise InputError(f'OpenCV cannot write the video {folder / name}.mp4: it was built without MPEG-4')
        self._video.write(np.ascontiguousarray(drawn[..., ::-1]))

    def _name(self, frame: Frame) -> str:
        """File name without its ending: the source's own, with a number where another source has it already."""
        source = frame.source
        if source not in self._names:
            stem = Path(source.name).stem if not isinstance(source.file, int) else source.name.replace(' ', '_')
            if '://' in source.name:
                stem = Path(source.file).stem
            stem = os.fsencode(printable(stem))[:_LONGEST_STEM].decode(errors='ignore')
            self._names[source] = free_name(stem, {name.casefold() for name in self._names.values()})
        return self._names[source]

    def _close_video(self) -> None:
        if self._video is not None:
            self._video.release()
            self._video = None


def printable(name: str) -> str:
    """The name of a file, with an escape such as ``\\xe9`` for each byte that is no UTF-8, and so in no JSON file."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


def draw_prediction(pixels: np.ndarray, found: Boxes | LabelMap | ClassScores, metainfo: dict) -> np.ndarray:
    """Draw boxes, tinted classes or the class on an image.

    Args:
        pixels: (H, W, 3), uint8, BGR.
        found: What was predicted; of boxes, those that are to be drawn.
        metainfo: ``classes``, and ``palette`` where there is one.

    Returns:
        (h, w, 3), uint8, RGB: of the same size, or enlarged where the longest side is under ``DRAWN_SIDE``, or made
        smaller where it is more than a JPEG can have.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))
    scale = min(max(1, DRAWN_SIDE / max(image.size)), _JPEG_SIDE / max(image.size))
    if scale != 1:
        image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    classes = metainfo['classes']
    if isinstance(found, Boxes):
        surest_last = zip(found.bboxes[::-1].tolist(), found.labels[::-1].tolist(), found.scores[::-1].tolist())
        return np.asarray(with_boxes(image, [(box, f'{classes[label]} {score:.2f}', class_colour(label))
                                             for box, label, score in surest_last], scale))
    if isinstance(found, LabelMap):
        image, labels = with_classes(image, torch.from_numpy(found.labels.astype(np.int64))[None], metainfo)
    else:
        labels = [(f'{classes[found.label]} {found.scores[found.label]:.2f}', NEUTRAL)]
    draw = ImageDraw.Draw(image)
    for line, (text, colour) in enumerate(labels):
        draw_label(draw, 0, line * LINE, text, colour)
    return np.asarray(image)
