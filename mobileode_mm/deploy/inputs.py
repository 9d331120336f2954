"""Images for an exported network: how they are prepared, of which size, and some to try it on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS

from ..errors import InputError
from ..inference.inferencer import Inferencer
from ..runs.checks import config_scope
from ..runs.config import leaf_datasets, type_name
from .run_onnx import METHODS, fitted

_WITHOUT_EFFECT = ('LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs', 'PackSegInputs', 'PackInputs')


def preparation(cfg: Config) -> list[dict]:
    """A config's test pipeline as the few steps that a program without the toolboxes has to do.

    Returns:
        Steps in order, each a dict of one entry: ``resize`` to [height, width]; ``fit`` into [long side, short side],
        the aspect kept; ``short_side`` to a number, the aspect kept; ``crop`` the middle to [height, width]; ``scale``
        by a factor; ``letterbox`` into [height, width], the aspect kept, then padded at the right or below, with
        [..., R, G, B] of 0 to 255 where that is not black; ``method``, of the steps behind it, one of
        ``run_onnx.METHODS``.

    Raises:
        InputError: The pipeline does something else.
    """
    steps: list[dict] = []
    method = METHODS[0]
    pipeline = _dataset(cfg, 'test')['pipeline']
    names = [type_name(step) for step in pipeline]
    for name, step in zip(names, pipeline):
        if name in _WITHOUT_EFFECT:
            continue
        resized_by = _method(step)
        if name in ('Resize', 'ResizeEdge') and resized_by not in (None, method):
            method = resized_by
            steps.append(dict(method=method))
        if name == 'Resize' and resized_by and step.get('scale'):
            scale = step['scale']
            width, height = scale = (scale, scale) if isinstance(scale, int) else scale
            steps.append(dict(fit=[max(scale), min(scale)]) if step.get('keep_ratio') else
                         dict(resize=[height, width]))
        elif name == 'Resize' and resized_by and isinstance(step.get('scale_factor'), (int, float)):
            steps += [] if step['scale_factor'] == 1 else [dict(scale=step['scale_factor'])]
        elif name == 'ResizeEdge' and resized_by and step.get('edge', 'short') == 'short':
            steps.append(dict(short_side=step['scale']))
        elif name == 'CenterCrop' and set(step) <= {'type', 'crop_size'}:
            size = step['crop_size']
            width, height = (size, size) if isinstance(size, int) else size
            steps.append(dict(crop=[height, width]))
        elif name == 'Pad' and 'PackSegInputs' not in names and (square := _padded_square(step, steps)):
            steps[-1] = dict(letterbox=[*square, *_colour(step, 'LoadImageFromFile' in names)])
        else:
            raise InputError(f'the test pipeline has the step {dict(step)}, which an exported network cannot ask for; '
                             'known are Resize and ResizeEdge (short side), bilinear or bicubic, CenterCrop, and Pad '
                             'to the square into which a Resize with keep_ratio fits images, of detectors and '
                             'classifiers')
    return steps


def _method(step: dict) -> str | None:
    """How a step resizes; None by a way that the programs do not have."""
    program = dict(cv2='opencv').get(step.get('backend', 'cv2'), step.get('backend'))
    method = f"{program} {step.get('interpolation', 'bilinear')}"
    return method if method in METHODS else None


def _padded_square(pad: dict, before: list[dict]) -> list[int] | None:
    """Height and width of the square that a Pad fills up, if it is the one that the Resize before it fits into."""
    fit = before[-1].get('fit') if before else None
    is_plain = set(pad) <= {'type', 'size', 'pad_to_square', 'pad_val', 'padding_mode'} and \
        pad.get('padding_mode', 'constant') == 'constant'
    if fit is None or fit[0] != fit[1] or not is_plain:
        return None
    return fit if list(pad.get('size') or fit) == fit else None


def _colour(pad: dict, is_bgr: bool) -> list[float]:
    """R, G and B that a Pad fills with; nothing where that is black, as letterboxes are."""
    value = pad.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, dict) else value
    colour = list(value) if isinstance(value, Sequence) else [value] * 3
    return (colour[::-1] if is_bgr else colour) if any(colour) else []


def fixed_size(steps: list[dict], size: Sequence[int] | None, trained: int | Sequence[int] | None,
               ) -> tuple[list[dict], tuple[int, int]]:
    """Preparation and size of images for a network that takes one size alone.

    Args:
        steps: As :func:`preparation` gives them.
        size: Height and width that are wanted.
        trained: The backbone's ``input_size``, for pipelines that leave images as they are.

    Returns:
        The steps, which end at the size, and the size.

    Raises:
        InputError: No size is known, or it contradicts the pipeline.
    """
    last = steps[-1] if steps else {}
    own = last.get('resize') or last.get('crop') or last.get('letterbox', [])[:2] or None
    if own is None and not steps and trained is not None:
        own = [trained, trained] if isinstance(trained, int) else list(trained)
    if size is None and own is None:
        raise InputError('the test pipeline does not say which size images have; give --size HEIGHT WIDTH, or '
                         '--dynamic size')
    size = list(own if size is None else size)
    if 'crop' in last:
        if size != own:
            raise InputError(f'--size {size[0]} {size[1]}: the test pipeline cuts images to {own}; change it there')
        return steps, tuple(size)
    return [*[step for step in steps if 'method' in step][-1:], _to_size(steps, size)], tuple(size)


def _to_size(steps: list[dict], size: Sequence[int]) -> dict:
    """The step to another size than a preparation's; it keeps the aspect where that does."""
    last = steps[-1] if steps else {}
    if not last or 'resize' in last or 'crop' in last:
        return dict(resize=[*size])
    return dict(letterbox=[*size, *last.get('letterbox', [])[2:]])


class Images:
    """The images of a config's data set, as its test pipeline prepares them.

    Args:
        inferencer: The network's.
        split: ``'train'`` or ``'test'``.

    Raises:
        FileNotFoundError: The data are not there, or the config names none.
    """

    def __init__(self, inferencer: Inferencer, split: str):
        self.cfg, self.takes_rgb = inferencer.cfg, inferencer.takes_rgb
        settings = {**_dataset(self.cfg, split), 'pipeline': _dataset(self.cfg, 'test')['pipeline']}
        with config_scope(self.cfg):
            try:
                self.dataset = DATASETS.build(settings)
            except Exception as error:  # each toolbox has its own types for what is not there
                raise FileNotFoundError(f'the {split} data cannot be read: {error}') from error

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, object]:
        """Pixels (H, W, 3), uint8, RGB, and the toolbox's data sample."""
        with config_scope(self.cfg):
            packed = self.dataset[index]
        # Where the pipeline loads floats (to_float32), it resizes without rounding.
        pixels = packed['inputs'].numpy().transpose(1, 2, 0).round().astype(np.uint8)
        return np.ascontiguousarray(pixels if self.takes_rgb else pixels[..., ::-1]), packed['data_samples']

    def sized(self, pixels: np.ndarray, size: Sequence[int] | None) -> tuple[np.ndarray, tuple[int, int]]:
        """An image of this set as a file of one size sees it, as :func:`fixed_size` says.

        Args:
            pixels: As the test pipeline prepares them.
            size: Height and width that the file takes; None takes any.

        Returns:
            The pixels, and height and width of their part that is no padding of this function's.
        """
        if size is None or pixels.shape[:2] == tuple(size):
            return pixels, pixels.shape[:2]
        (kind, (height, width, *colour)), = _to_size(preparation(self.cfg), size).items()
        used = height, width
        if kind == 'letterbox':
            used = fitted(pixels.shape[:2], (height, width))
        whole = np.full((height, width, 3), colour or 0, np.uint8)
        whole[:used[0], :used[1]] = cv2.resize(pixels, used[::-1])
        return whole, used

    def spaced(self, count: int) -> list[int]:
        """Indices of ``count`` images, spread evenly over the set."""
        count = min(count, len(self))
        return [number * len(self) // count for number in range(count)]

    def spread(self, count: int) -> Iterator[np.ndarray]:
        """Pixels of ``count`` images, spread evenly over the set."""
        for index in self.spaced(count):
            yield self[index][0]

    def files(self, count: int) -> list[Path]:
        """The files of the images that :meth:`spread` gives."""
        return [Path(self.dataset.get_data_info(place)['img_path']) for place in self.spaced(count)]


def samples(inferencer: Inferencer, count: int, size: tuple[int, int] | None) -> tuple[list[np.ndarray], str]:
    """Images to try a network on, and what they are.

    Args:
        inferencer: The network's.
        count: How many.
        size: Height and width to stretch them to; None leaves them as the test pipeline gives them.
    """
    try:
        found, origin = list(Images(inferencer, 'test').spread(count)), 'images of the test data'
    except FileNotFoundError as absent:
        error = str(absent).splitlines()[0]
        rng = np.random.default_rng(0)
        height, width = size or (192, 256)
        noise = [rng.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(count)]
        found = [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in noise]
        origin = f'random images ({error})'
    if size is not None:
        found = [cv2.resize(one, size[::-1]) for one in found]
    return found, origin


def _dataset(cfg: Config, split: str) -> dict:
    """Config of the data set of a split, the first where there are several; FileNotFoundError where there is none."""
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise FileNotFoundError(f'the config has no {split}_dataloader')
    return leaf_datasets(loader['dataset'])[0]
