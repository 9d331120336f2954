"""Batch rules: what the network cannot do with the batches that the config makes."""
import math
from collections.abc import Iterator
from functools import partial

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import FUNCTIONS
from torch import nn

from ...data.verify.report import Finding
from ...errors import listed
from ..config import type_name
from .samples import Sample
from .sources import Source


def check_last_batch(cfg: Config, sources: list[Source], found: list[Sample], model: nn.Module) -> Iterator[Finding]:
    """A last batch of one image, on which the network cannot take batch statistics.

    Args:
        cfg: The config.
        sources: The data sets of train.
        found: Some of their images.
        model: The network; it is run on an image and of no use after.
    """
    dataloader = cfg.train_dataloader
    lengths = {id(source.cfg): len(source.infos) for source in sources}
    number = _length(dataloader.dataset, lengths)
    batch = dataloader.get('batch_size')
    if not number or not batch or 'Infinite' in type_name(dataloader.get('sampler') or {}):
        return
    share = math.ceil(number / get_world_size())
    last = batch if dataloader.get('drop_last') else share % batch or batch
    if last != 1 or not found or not _fails_on_one_image(found[0].item, model):
        return
    name = type(model).__name__
    if batch == 1:
        yield Finding(f'train_dataloader.batch_size is 1, and {name} cannot train on one image: batch norm over a map '
                      'of 1x1 needs two values or more', 'set train_dataloader.batch_size to 2 or more')
    else:
        yield Finding(f'{share} images in batches of {batch} leave a last batch of one image, on which {name} cannot '
                      'train: batch norm over a map of 1x1 needs two values or more',
                      'set train_dataloader.drop_last=True, or another train_dataloader.batch_size')


def check_left_out(cfg: Config, split: str, sources: list[Source]) -> Iterator[Finding]:
    """Images that a validation or test drops with its last batch, and judges the network without."""
    dataloader = cfg[f'{split}_dataloader']
    if not dataloader.get('drop_last'):
        return
    number = _length(dataloader.dataset, {id(source.cfg): len(source.infos) for source in sources})
    left_out = (number or 0) % ((dataloader.get('batch_size') or 1) * get_world_size())
    if left_out:
        yield Finding(f'{split}_dataloader.drop_last leaves out the last {left_out} of {number} images, as if nothing '
                      'were found on them', f'set {split}_dataloader.drop_last=False', severity='warning')


def check_sizes(cfg: Config, sources: list[Source], found: list[Sample], model: nn.Module) -> Iterator[Finding]:
    """Images that come out of the pipeline in several sizes, and do not fit into one batch.

    Args:
        cfg: The config.
        sources: The data sets of one split.
        found: Images of theirs of different sizes.
        model: The network, whose preprocessor makes the batches.
    """
    split = sources[0].split
    dataloader = cfg[f'{split}_dataloader']
    batch = dataloader.get('batch_size') or 1
    if batch == 1 or sources[0].kind not in ('masks', 'classes'):  # mmdet pads
        return
    items = [sample.item for sample in found]
    shapes = {tuple(item['inputs'].shape[1:]) for item in items}
    if len(shapes) < 2:
        return
    collate = dict(dataloader.get('collate_fn') or dict(type='pseudo_collate'))
    kind = collate.pop('type')
    try:
        data = partial(FUNCTIONS.get(kind) if isinstance(kind, str) else kind, **collate)(items)
        model.data_preprocessor(data, split == 'train')
    except (AssertionError, RuntimeError, TypeError, ValueError):
        sizes = listed(f'{width}x{height}' for height, width in sorted(shapes))
        yield Finding(f'{split}_dataloader.batch_size is {batch}, but its pipeline makes images of several sizes '
                      f'({sizes}), which cannot be one batch',
                      f'set {split}_dataloader.batch_size=1, or let the pipeline make images of one size',
                      tuple(f'{sample.path}: {sample.item["inputs"].shape[2]}x{sample.item["inputs"].shape[1]}'
                            for sample in found))


def _length(dataset: dict, lengths: dict[int, int]) -> int | None:
    """Images of a data set with its wrappers; None where a wrapper is of another kind."""
    if id(dataset) in lengths:
        return lengths[id(dataset)]
    if 'datasets' in dataset and type_name(dataset) == 'ConcatDataset':
        parts = [_length(part, lengths) for part in dataset['datasets']]
        return None if None in parts else sum(parts)
    if 'dataset' not in dataset or type_name(dataset) not in ('RepeatDataset', 'MultiImageMixDataset'):
        return None
    inner = _length(dataset['dataset'], lengths)
    return None if inner is None else inner * dataset.get('times', 1)


def _fails_on_one_image(item: dict, model: nn.Module) -> bool:
    """Whether a forward pass of one image in training mode ends in torch's message about batch statistics."""
    if get_world_size() > 1:
        return False  # norms may be synchronised, and other processes are not here
    data = FUNCTIONS.get('pseudo_collate')([item])
    model = revert_sync_batchnorm(model).train()
    try:
        with torch.no_grad():
            model(model.data_preprocessor(data, False)['inputs'], None, mode='tensor')
    except ValueError as error:
        return 'more than 1 value per channel' in str(error)
    except Exception:  # whatever else is wrong with it, is no matter of batches
        return False
    return False
