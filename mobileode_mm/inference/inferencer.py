"""From a trained network to predictions on images.

The toolboxes' own inferencers give the same predictions (the tests compare them), but read checkpoints that may run
code, end at the first unreadable image, and know no video.
"""
import itertools
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS
from mmengine.runner.checkpoint import load_state_dict

from ..backbones import Deployable
from ..checkpoints.matching import check_checkpoint, not_numbers
from ..checkpoints.reading import read_checkpoint, restricted_loading, state_dict_of
from ..data.images import read_image
from ..data.json_file import read_json
from ..errors import InputError
from ..runs.checks import build_model, config_errors, config_scope, head_classes
from ..runs.config import leaf_datasets, load_config, type_name, use_steps

TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation', 'mmpretrain': 'classification'}
#: COCO's category ids run from 1 to 90 and leave these out.
_COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


class Boxes(NamedTuple):
    """What a detector finds in an image, the surest first.

    Attributes:
        bboxes: (N, 4), x1, y1, x2, y2 in pixels of the image.
        labels: (N,), class indices.
        scores: (N,), 0 to 1.
    """
    bboxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


class LabelMap(NamedTuple):
    """What a segmentor makes of an image.

    Attributes:
        labels: (H, W) of the image, class indices, uint8; uint16 where there are more than 256 classes.
    """
    labels: np.ndarray


class ClassScores(NamedTuple):
    """What a classifier makes of an image.

    Attributes:
        scores: (number of classes,), which sum to 1.
    """
    scores: np.ndarray

    @property
    def label(self) -> int:
        """Index of the likeliest class."""
        return int(self.scores.argmax())


class Inferencer:
    """A trained detector, segmentor or classifier.

    Images are read and prepared as the config's test data are: grey ones become three equal channels, an alpha
    channel is dropped, images with an EXIF orientation are turned upright, CMYK becomes RGB, 16 bits become 8.

    Args:
        config: Config file.
        checkpoint: Its weights: a checkpoint of a training, or a published file.
        device: As ``torch.device`` takes it; by default the GPU where there is one.
        trust: Read a checkpoint that can run code when it is read.
        cfg_options: Dotted config keys and values that replace the file's.
        deploy: Give a network that has a deploy form that form: the same predictions, but for rounding, in less time.
            Without it the network stays as it was trained, its solvers as they are.
        steps: Of the solvers of a network with ``anytime``: one number, or one for each stage with solvers.

    Attributes:
        cfg: The config.
        model: The network, in eval mode.
        task: ``'detection'``, ``'segmentation'`` or ``'classification'``.
        classes: Names of the classes.
        metainfo: ``classes`` and, where the data set has one, ``palette``.
        takes_rgb: Whether the test pipeline is given images in RGB, not BGR.
        notes: Lines on what is no error, but worth knowing.

    Raises:
        InputError: Something given cannot be used.

    Example:
        >>> from mobileode_mm.apis import Inferencer
        >>> inferencer = Inferencer('configs/ssdlite_mobileode_mini.py', 'epoch_6.pth')
        >>> boxes, labels, scores = inferencer(['street.jpg'])[0]
    """

    def __init__(self, config: str | Path, checkpoint: str | Path, device: str | torch.device | None = None,
                 trust: bool = False, cfg_options: dict | None = None, deploy: bool = True,
                 steps: int | Sequence[int] | None = None):
        self.cfg = cfg = load_config(config, cfg_options)
        use_steps(cfg, steps)
        self.scope = cfg.get('default_scope')
        if self.scope not in TASKS or cfg.get('model') is None:
            raise InputError(f'{config} is no config of a detector, segmentor or classifier: its default_scope is '
                             f'{self.scope}, not one of {", ".join(TASKS)}')
        self.task = TASKS[self.scope]
        self.device = _device(device)
        read = read_checkpoint(checkpoint, trust)
        with config_scope(cfg), restricted_loading(trust):
            self.model = build_model(cfg)
            self.notes = check_checkpoint(self.model, read, checkpoint, 'test')
            fault = not_numbers(read)
            if fault:
                raise InputError(f'{checkpoint} predicts nothing: {fault}')
            load_state_dict(self.model, state_dict_of(read))
            self.metainfo = self._find_metainfo(read)
            self._init_pipeline()
        self.model.to(self.device).eval()
        if deploy and isinstance(self.model, Deployable):
            self.model.switch_to_deploy()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.metainfo['classes']

    def __call__(self, images: Sequence[str | os.PathLike | np.ndarray],
                 batch_size: int = 1) -> list[Boxes | LabelMap | ClassScores]:
        """Predict.

        Args:
            images: Files, or pixels (H, W, 3), uint8, BGR.
            batch_size: Images at a time, where they are of one size after preparation. A prediction does not depend
                on the images beside it.

        Returns:
            One prediction for each image, in their order.

        Raises:
            InputError: A file cannot be read.
        """
        if isinstance(images, (str, os.PathLike, np.ndarray)):
            raise InputError('a list of images is wanted')
        found = []
        for start in range(0, len(images), batch_size):
            found += self.predict([one if isinstance(one, np.ndarray) else self.read_or_refuse(one)
                                   for one in images[start:start + batch_size]])
        return found

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """Pixels (H, W, 3), uint8, BGR, of an image file, as the config's data set reads it.

        Raises:
            ValueError: It cannot be read.
        """
        return self._read(os.fspath(path))

    def read_or_refuse(self, path: str | os.PathLike) -> np.ndarray:
        """As :meth:`read`, but for a file that ends everything where it cannot be read: InputError."""
        try:
            return self.read(path)
        except ValueError as fault:
            raise InputError(f'{path} {fault}') from fault

    def prepare(self, pixels: np.ndarray) -> dict:
        """What the test pipeline makes of an image: ``inputs`` (3, h, w) and its data sample."""
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise InputError(f'an image of shape {pixels.shape} and type {pixels.dtype} is none of (H, W, 3), uint8')
        pixels = np.ascontiguousarray(pixels[..., ::-1] if self.takes_rgb else pixels)
        size = pixels.shape[:2]
        if self._float:
            pixels = pixels.astype(np.float32)
        with config_scope(self.cfg):
            return self._pipeline(
                dict(img=pixels, img_shape=size, ori_shape=size, img_id=0, img_path='', seg_fields=[]))

    @torch.no_grad()
    def predict(self, images: Sequence[np.ndarray]) -> list[Boxes | LabelMap | ClassScores]:
        """Predict on the pixels (H, W, 3), uint8, BGR, of images, at once where they are of one size."""
        prepared = [self.prepare(pixels) for pixels in images]
        found = []
        # Images of different sizes in one batch would be padded, and what is found in one would depend on the others.
        for _, group in itertools.groupby(prepared, lambda data: data['inputs'].shape):
            with config_scope(self.cfg):
                samples = self.model.test_step(pseudo_collate(list(group)))
            found += [_prediction(sample, len(self.classes)) for sample in samples]
        return found

    def category_ids(self) -> tuple[list[int], str]:
        """The data set's category id of each class, and a line where they are not from its annotation file.

        Where the file is absent, or has other classes, those that are COCO's have COCO's ids, and others count from 1.
        """
        ann_file = _test_dataset(self.cfg).get('ann_file')
        root = _test_dataset(self.cfg).get('data_root') or ''
        path = os.path.join(root, ann_file) if ann_file else ''
        if path.endswith('.json') and os.path.isfile(path):
            document = read_json(path)
            ids = {category['name']: category['id'] for category in document.get('categories', ())}
            if all(name in ids for name in self.classes):
                return [ids[name] for name in self.classes], ''
        from mmdet.datasets import CocoDataset
        if self.classes == tuple(CocoDataset.METAINFO['classes']):
            return [number for number in range(1, 91) if number not in _COCO_GAPS], ''
        return list(range(1, len(self.classes) + 1)), (
            f'category ids are counted from 1: {path or "an annotation file of the test data"} is absent or has other '
            'classes')

    def _find_metainfo(self, checkpoint: dict) -> dict:
        meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        # Older checkpoints of mmdet have their keys in capitals.
        meta = {key.lower(): value for key, value in meta.items()}
        if not meta.get('classes'):
            dataset = {**_test_dataset(self.cfg), 'lazy_init': True, 'pipeline': []}
            with config_errors(self.cfg.filename):
                try:
                    meta = DATASETS.build(dataset).metainfo
                except FileNotFoundError:
                    meta = {}
        number = _number_of_classes(self.model)
        classes = tuple(meta.get('classes') or ())
        if len(classes) != number:
            if classes:
                self.notes.append(f'{len(classes)} names are known for {number} classes; they are numbered instead')
            classes = tuple(map(str, range(number)))
        return dict(classes=classes, palette=_palette(meta.get('palette'), number))

    def _init_pipeline(self) -> None:
        steps = list(_test_dataset(self.cfg).get('pipeline') or ())
        loading = [step for step in steps if type_name(step) == 'LoadImageFromFile']
        # A data set that reads no image files, such as CIFAR-10, has its images in RGB.
        self.takes_rgb = not loading
        settings = loading[0] if loading else {}
        self._float = settings.get('to_float32', False)
        self._read = partial(read_image, backend=settings.get('imdecode_backend', 'cv2'),
                             flag=settings.get('color_type', 'color'))
        steps = [step for step in steps if type_name(step) not in ('LoadImageFromFile', 'LoadAnnotations')]
        if not steps:
            raise InputError(f'{self.cfg.filename} has no test_dataloader with a pipeline')
        with config_errors(self.cfg.filename):
            self._pipeline = Compose(steps)


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split('. ')[0].splitlines()[0]
        raise InputError(f'the device {device} cannot be used: {reason}. Without one, --device cpu') from error
    return device


def _test_dataset(cfg: Config) -> dict:
    """Config of the test data, the first where there are several; empty where there are none."""
    return leaf_datasets((cfg.get('test_dataloader') or {}).get('dataset') or {})[0]


def _number_of_classes(model: torch.nn.Module) -> int:
    counts = head_classes(model)
    for name in ('bbox_head', 'roi_head.bbox_head', 'decode_head', 'head'):
        if name in counts:
            return counts[name]
    raise InputError(f'a {type(model).__name__} has no head whose classes could be counted')


def _palette(colours, number: int) -> list[tuple[int, int, int]] | None:
    """A colour for each of ``number`` classes, of what metadata name as a palette; None where it is none."""
    try:
        colours = np.asarray(colours, np.float64)
    except (TypeError, ValueError):
        return None
    if colours.ndim != 2 or len(colours) < number or colours.shape[1] != 3 or not (abs(colours - 127.5) <= 127.5).all():
        return None
    return [tuple(colour) for colour in colours.astype(int).tolist()]


def _prediction(sample, classes: int) -> Boxes | LabelMap | ClassScores:
    if 'pred_instances' in sample:
        found = sample.pred_instances.cpu().numpy()
        order = np.argsort(-found.scores, kind='stable')
        return Boxes(found.bboxes[order], found.labels[order], found.scores[order])
    if 'pred_sem_seg' in sample:
        return LabelMap(sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8 if classes <= 256 else np.uint16))
    return ClassScores(sample.pred_score.cpu().numpy())
