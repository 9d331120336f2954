"""The complexity of the network of a config, whichever toolbox it is of."""
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config, type_name

from .counting import Complexity, count

#: The least side of an image, in pixels: the deepest stride of the networks, and CIFAR's images.
LEAST_SIDE = 32


def count_config(config: str | Path | Config, shape: Sequence[int] | None = None,
                 cfg_options: dict | None = None) -> tuple[Complexity, tuple[int, int]]:
    """Count one image through the network of a config, from the pixels to the heads' maps.

    What follows the maps (decoding, non-maximum suppression, resizing a segmentation to the image) is no part of it,
    nor are losses. No data and no weights are looked for.

    Args:
        config: Config of a detector, segmentor or classifier: a file, or one that was read already.
        shape: Height and width of the image; default those that :func:`default_shape` reads off the config.
        cfg_options: As for training; of files only.

    Returns:
        The complexity, and the height and width.

    Raises:
        InputError: The config cannot be read or built, has no network with a backbone, says nothing of a size, or its
            network cannot take the shape.
    """
    cfg = config if isinstance(config, Config) else load_config(config, cfg_options)
    model_cfg = cfg.get('model')
    if not isinstance(model_cfg, dict) or not model_cfg.get('backbone'):
        raise InputError(f'{cfg.filename} has no model.backbone: complexity is counted for detectors, segmentors and '
                         'classifiers, whose config has one')
    shape = default_shape(cfg) if shape is None else tuple(shape)
    if len(shape) != 2 or min(shape) < LEAST_SIDE:
        raise InputError(f'the shape {" ".join(map(str, shape))} is no height and width of {LEAST_SIDE} px or more')
    with config_scope(cfg):
        model = build_model(cfg)
        try:
            return count(model, (1, 3, *shape), _forward(cfg, shape)), shape
        except (AssertionError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f'the network of {cfg.filename} cannot be run on an image of {shape[0]}x{shape[1]} px, '
                             f'height x width: {type(error).__name__}: {error}') from error


def default_shape(cfg: Config) -> tuple[int, int]:
    """Height and width of the images that a config is made for.

    The variable ``crop_size``, as mmseg's configs have it; else the last size that the test pipeline sets, or the
    training pipeline's; else the backbone's ``input_size``.

    Raises:
        InputError: The config has none of these.
    """
    found = [_pair(cfg.get('crop_size'))]
    for split in ('test', 'train'):
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}
        while 'dataset' in dataset:  # RepeatDataset and the like
            dataset = dataset['dataset']
        found += [size for size in map(_size_of, _flat(dataset.get('pipeline') or ())) if size][-1:]
    found.append(_pair(cfg.model.backbone.get('input_size')))
    shape = next(filter(None, found), None)
    if shape is None:
        raise InputError(f'{cfg.filename} does not say how large its images are; give --shape H W')
    return shape


def _flat(pipeline: Iterable[dict]) -> Iterable[dict]:
    for step in pipeline:
        inner = step.get('transforms')
        if inner:  # TestTimeAug has lists of alternatives: the first of each
            yield from _flat(one[0] if isinstance(one, (list, tuple)) else one for one in inner)
        else:
            yield step


def _size_of(step: dict) -> tuple[int, int] | None:
    kind = type_name(step)
    if kind in ('CenterCrop', 'RandomCrop'):
        return _pair(step.get('crop_size'))
    if kind == 'Resize':
        return _pair(step.get('scale'), reverse=True)  # width and height, in all toolboxes
    if kind == 'RandomResizedCrop':
        return _pair(step.get('scale'))
    return None


def _pair(size, reverse: bool = False) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(side, int) for side in size):
        return tuple(reversed(size)) if reverse else tuple(size)
    return None


def _forward(cfg: Config, shape: tuple[int, int]) -> Callable[[nn.Module, Tensor], object]:
    if cfg.get('default_scope') != 'mmdet':
        return lambda model, x: model(x, mode='tensor')
    from mmdet.structures import DetDataSample  # two-stage detectors clip their proposals to the image
    sample = DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape,
                                         scale_factor=(1.0, 1.0)))
    return lambda model, x: model(x, [sample], mode='tensor')
