"""Batch rules: what the network cannot do with the batches that the config makes."""
import math
from collections.abc import Iterator
from functools import partial

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, FUNCTIONS
from torch import nn

from ...data.verify.report import Finding
from ...errors import listed
from ..config import type_name
from .images import image_size
from .sources import Source

#: Images of different sizes that are put into one batch to see whether they fit, and images looked at to find them.
_SIZES, _LOOKED_AT = 4, 256


def check_last_batch(cfg: Config, sources: list[Source], model: nn.Module) -> Iterator[Finding]:
    """A last batch of one image, on which the network cannot take batch statistics.

    Args:
        cfg: The config.
        sources: The data sets of train.
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
    if last != 1 or not _fails_on_one_image(sources[0], model):
        return
    name = type(model).__name__
    if batch == 1:
        yield Finding(f'train_dataloader.batch_size is 1, and {name} cannot train on one image: batch norm over a map '
                      'of 1x1 needs two values or more', 'set train_dataloader.batch_size to 2 or more')
    else:
        yield Finding(f'{share} images in batches of {batch} leave a last batch of one image, on which {name} cannot '
                      'train: batch norm over a map of 1x1 needs two values or more',
                      'set train_dataloader.drop_last=True, or another train_dataloader.batch_size')


def check_sizes(cfg: Config, sources: list[Source], model: nn.Module) -> Iterator[Finding]:
    """Images that come out of the pipeline in several sizes, and do not fit into one batch.

    Args:
        cfg: The config.
        sources: The data sets of one split.
        model: The network, whose preprocessor makes the batches.
    """
    split = sources[0].split
    dataloader = cfg[f'{split}_dataloader']
    batch = dataloader.get('batch_size') or 1
    if batch == 1 or sources[0].kind not in ('masks', 'classes'):  # mmdet pads
        return
    found = [(info['img_path'], item) for source in sources for info, item in samples(source, min(batch, _SIZES))]
    items = [item for _, item in found]
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
                      tuple(f'{path}: {item["inputs"].shape[2]}x{item["inputs"].shape[1]}' for path, item in found))


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


def _fails_on_one_image(source: Source, model: nn.Module) -> bool:
    """Whether a forward pass of one image in training mode ends in torch's message about batch statistics."""
    if get_world_size() > 1:
        return False  # norms may be synchronised, and other processes are not here
    items = samples(source, 1)
    if not items:
        return False
    data = FUNCTIONS.get('pseudo_collate')([items[0][1]])
    model = revert_sync_batchnorm(model).train()
    try:
        with torch.no_grad():
            model(model.data_preprocessor(data, False)['inputs'], None, mode='tensor')
    except ValueError as error:
        return 'more than 1 value per channel' in str(error)
    except Exception:  # whatever else is wrong with it, is no matter of batches
        return False
    return False


def samples(source: Source, number: int) -> list[tuple[dict, dict]]:
    """Up to ``number`` images of different sizes, and what the pipeline makes of each; none where it does not end in
    ``inputs``."""
    by_size: dict[tuple[int, int] | None, dict] = {}
    for info in source.infos[::max(1, len(source.infos) // _LOOKED_AT)]:
        by_size.setdefault(image_size(info['img_path']), info)
        if len(by_size) == number:
            break
    dataset = DATASETS.build({**source.cfg, 'lazy_init': True})
    found = []
    for info in by_size.values():
        try:
            item = dataset.pipeline(_whole_info(dataset, source, info))
        except Exception:  # a pipeline that fails does so in the run, with its own words
            return []
        if not isinstance(item, dict) or not isinstance(item.get('inputs'), torch.Tensor):
            return []
        found.append((info, item))
    return found


def _whole_info(dataset, source: Source, info: dict) -> dict:
    """What the data set would hand to its pipeline."""
    if source.kind != 'coco':
        return dict(info, sample_idx=0)
    names = {category['id']: category['name'] for category in source.document['categories']}
    dataset.cat_ids = [number for number, name in names.items() if name in dataset.metainfo['classes']]
    dataset.cat2label = {number: label for label, number in enumerate(dataset.cat_ids)}
    image = next(image for image in source.document['images'] if image['id'] == info['img_id'])
    annotations = [annotation for annotation in source.document['annotations'] if annotation['image_id'] == image['id']]
    return dict(dataset.parse_data_info(dict(raw_img_info=dict(image, img_id=image['id']), raw_ann_info=annotations)),
                sample_idx=0)
