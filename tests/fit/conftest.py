"""The same squares in every format that people have: an annotated image is (name, boxes with class names)."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

CLASSES = ('blue', 'green', 'red')
SIDE = 64


class Scene:
    """An image with squares: ``boxes`` are x1, y1, x2, y2 in pixels."""

    def __init__(self, number: int, size: int = SIDE, count: int = 2):
        rng = np.random.default_rng(number)
        self.name = f'scene_{number}'
        self.pixels = rng.integers(0, 80, (size, size, 3), np.uint8)
        self.mask = np.zeros((size, size), np.uint8)
        self.boxes, self.labels = [], []
        for place in range(count):
            label = int(rng.integers(3))
            side = int(rng.integers(14, 24))
            x = int(rng.integers(0, size // 2 - side)) + place % 2 * size // 2
            y = int(rng.integers(0, size - side))
            self.pixels[y:y + side, x:x + side, label] = 255
            self.mask[y:y + side, x:x + side] = label + 1
            self.boxes.append((x, y, x + side, y + side))
            self.labels.append(label)

    def save(self, folder: Path, suffix: str = '.png') -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f'{self.name}{suffix}'
        assert cv2.imwrite(str(path), self.pixels)
        return path


def write_coco(folder, splits):
    """As Roboflow exports: the file beside the images of its split, a category that no box has."""
    for split, scenes in splits.items():
        images, annotations = [], []
        for number, scene in enumerate(scenes):
            path = scene.save(folder / split, '.jpg')
            images.append(dict(id=number, file_name=path.name, width=scene.pixels.shape[1],
                               height=scene.pixels.shape[0]))
            for (x1, y1, x2, y2), label in zip(scene.boxes, scene.labels):
                annotations.append(dict(id=len(annotations), image_id=number, category_id=label + 1,
                                        bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=0))
        (folder / split / '_annotations.coco.json').write_text(json.dumps(dict(
            images=images, annotations=annotations,
            categories=[dict(id=0, name='shapes'), *(dict(id=i, name=name) for i, name in enumerate(CLASSES, 1))])))


def write_yolo(folder, splits):
    for split, scenes in splits.items():
        for scene in scenes:
            scene.save(folder / split / 'images', '.jpg')
            lines = [f'{label} {(x1 + x2) / 2 / SIDE} {(y1 + y2) / 2 / SIDE} {(x2 - x1) / SIDE} {(y2 - y1) / SIDE}'
                     for (x1, y1, x2, y2), label in zip(scene.boxes, scene.labels)]
            (folder / split / 'labels').mkdir(exist_ok=True)
            (folder / split / 'labels' / f'{scene.name}.txt').write_text('\n'.join(lines))
    (folder / 'data.yaml').write_text('train: ../train/images\nval: ../valid/images\n'
                                      f'nc: 3\nnames: {list(CLASSES)}\n')


def write_voc(folder, splits):
    for split, scenes in splits.items():
        for scene in scenes:
            scene.save(folder / split)
            objects = ''.join(
                f'<object><name>{CLASSES[label]}</name><difficult>0</difficult><bndbox><xmin>{x1}</xmin>'
                f'<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
                for (x1, y1, x2, y2), label in zip(scene.boxes, scene.labels))
            (folder / split / f'{scene.name}.xml').write_text(
                f'<annotation><filename>{scene.name}.tif</filename>{objects}</annotation>')


def write_folders(folder, splits):
    for split, scenes in splits.items():
        for scene in scenes:
            scene.save(folder / split / CLASSES[scene.labels[0]])


def write_masks(folder, splits):
    for split, scenes in splits.items():
        for scene in scenes:
            scene.save(folder / split / 'images', '.jpg')
            (folder / split / 'masks').mkdir(exist_ok=True)
            assert cv2.imwrite(str(folder / split / 'masks' / f'{scene.name}.png'), scene.mask)
    (folder / 'classes.txt').write_text('ground\n' + '\n'.join(CLASSES) + '\n')


WRITERS = {'COCO': write_coco, 'YOLO': write_yolo, 'VOC XML': write_voc, 'class folders': write_folders,
           'images and masks': write_masks}


@pytest.fixture(scope='session')
def scenes():
    """Twelve for training, four for validation; a class folder has the first square's class."""
    return dict(train=[Scene(number) for number in range(12)], valid=[Scene(number) for number in range(12, 16)])


@pytest.fixture(scope='session')
def folders(tmp_path_factory, scenes):
    """A folder for each format, by its name."""
    made = {}
    for name, write in WRITERS.items():
        made[name] = tmp_path_factory.mktemp(name.replace(' ', '_'))
        write(made[name], scenes)
    return made
