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

_WITHOUT_EFFECT = ('LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs', 'PackSegInputs', 'PackInputs')


def preparation(cfg: Config) -> list[dict]:
    """A config's test pipeline as the few steps that a program without the toolboxes has to do.

    Returns:
        Steps in order, each a dict of one entry: ``resize`` to [height, width]; ``fit`` into [long side, short side],
        the aspect kept; ``short_side`` to a number, the aspect kept; ``crop`` the middle to [height, width]; ``scale``
        by a factor.

    Raises:
        InputError: The pipeline does something else.
    """
    steps = []
    for step in _dataset(cfg, 'test')['pipeline']:
        name = type_name(step)
        bilinear = step.get('interpolation', 'bilinear') == 'bilinear' and step.get('backend', 'cv2') == 'cv2'
        if name in _WITHOUT_EFFECT:
            continue
        if name == 'Resize' and bilinear and step.get('scale'):
            scale = step['scale']
            width, height = scale = (scale, scale) if isinstance(scale, int) else scale
            steps.append(dict(fit=[max(scale), min(scale)]) if step.get('keep_ratio') else
                         dict(resize=[height, width]))
        elif name == 'Resize' and bilinear and isinstance(step.get('scale_factor'), (int, float)):
            steps += [] if step['scale_factor'] == 1 else [dict(scale=step['scale_factor'])]
        elif name == 'ResizeEdge' and bilinear and step.get('edge', 'short') == 'short':
            steps.append(dict(short_side=step['scale']))
        elif name == 'CenterCrop' and set(step) <= {'type', 'crop_size'}:
            size = step['crop_size']
            width, height = (size, size) if isinstance(size, int) else size
            steps.append(dict(crop=[height, width]))
        else:
            raise InputError(f'the test pipeline has the step {dict(step)}, which an exported network cannot ask for; '
                             'known are Resize and ResizeEdge (short side), bilinear and by OpenCV, and CenterCrop')
    return steps


def fixed_size(steps: list[dict], size: Sequence[int] | None, trained: int | Sequence[int] | None,
               ) -> tuple[list[dict], tuple[int, int]]:
    """Preparation and size of images for a network that takes one size alone.

    Args:
        steps: As :func:`preparation` gives them.
        size: Height and width that are wanted.
        trained: The backbone's ``input_size``, for pipelines that leave images as they are.

    Returns:
        The steps, which end at the size (``letterbox``: the aspect kept, then padded), and the size.

    Raises:
        InputError: No size is known, or it contradicts the pipeline.
    """
    last = steps[-1] if steps else {}
    own = last.get('resize') or last.get('crop')
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
    keeps_aspect = bool(steps) and 'resize' not in last
    return [dict(letterbox=size) if keeps_aspect else dict(resize=size)], tuple(size)


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


def sized(pixels: np.ndarray, size: Sequence[int] | None) -> np.ndarray:
    """Stretched, where the network takes one size that is not the test pipeline's."""
    return pixels if size is None or pixels.shape[:2] == tuple(size) else cv2.resize(pixels, size[::-1])


def _dataset(cfg: Config, split: str) -> dict:
    """Config of the data set of a split, the first where there are several; FileNotFoundError where there is none."""
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise FileNotFoundError(f'the config has no {split}_dataloader')
    return leaf_datasets(loader['dataset'])[0]
