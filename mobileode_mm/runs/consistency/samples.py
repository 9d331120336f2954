"""A few images as the pipeline hands them to the run, looked at before it."""
from typing import NamedTuple

import torch
from mmengine.registry import DATASETS

from .images import image_size
from .sources import Source

#: Images of different sizes, and files looked at to find them.
_SAMPLES, _LOOKED_AT = 4, 256


class Sample(NamedTuple):
    """An image of a data set.

    Attributes:
        path: Its file.
        item: What the pipeline makes of it: ``inputs`` and ``data_samples``.
    """
    path: str
    item: dict


def samples(source: Source) -> list[Sample]:
    """A few images of different sizes; none where the pipeline does not end in ``inputs``."""
    by_size: dict[tuple[int, int] | None, dict] = {}
    for info in source.infos[::max(1, len(source.infos) // _LOOKED_AT)]:
        by_size.setdefault(image_size(info['img_path']), info)
        if len(by_size) == _SAMPLES:
            break
    try:
        dataset = DATASETS.build({**source.cfg, 'lazy_init': True})
        items = [dataset.pipeline(_whole_info(dataset, source, info)) for info in by_size.values()]
    except Exception:  # a pipeline that cannot be built or fails does so in the run, with its own words
        return []
    if not all(isinstance(item, dict) and isinstance(item.get('inputs'), torch.Tensor) for item in items):
        return []
    return [Sample(info['img_path'], item) for info, item in zip(by_size.values(), items)]


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
