"""Pipeline rules: steps that do not go with the network, or with what the images are for."""
import re
from collections.abc import Iterator

import torch
from torch import nn

from ...data.verify.report import Finding
from ...errors import listed
from ..config import type_name
from .samples import Sample
from .sources import Source

#: Steps of the toolboxes that change images by chance.
_BY_CHANCE = re.compile(r'.*Random|(PhotoMetricDistortion|ColorJitter|Lighting|AutoAugment|RandAugment|CutOut|Expand|'
                        r'CopyPaste|(Cached)?(Mosaic|MixUp))$')


def check_normalised(sources: list[Source], found: list[Sample], model: nn.Module) -> Iterator[Finding]:
    """Images that are normalised twice, or by the mean and deviation of another scale.

    Args:
        sources: The data sets of one split.
        found: Some of their images.
        model: The network, whose preprocessor normalises.
    """
    preprocessor = getattr(model, 'data_preprocessor', None)
    if not getattr(preprocessor, '_enable_normalize', False):
        return
    twice = next((source for source in sources if source.step('Normalize')), None)
    if twice is not None:
        yield Finding(f'{twice.split}_dataloader: the pipeline has Normalize, and data_preprocessor has mean and std: '
                      'images are normalised twice', 'take Normalize out of the pipeline', severity='warning')
    elif preprocessor.std.max() < 1 and any(sample.item['inputs'].dtype == torch.uint8 for sample in found):
        yield Finding(f'{sources[0].split}_dataloader gives images of 0 to 255, and data_preprocessor has a std of '
                      f'{_numbers(preprocessor.std)}, which is that of images of 0 to 1: the network sees values '
                      f'of up to {(255 / preprocessor.std.min()).item():.0f}',
                      f'set mean to {_numbers(255 * preprocessor.mean)} and std to {_numbers(255 * preprocessor.std)}',
                      severity='warning')


def check_chance(source: Source) -> Iterator[Finding]:
    """Images that a validation or test changes by chance, as a training does."""
    # With test_mode mmdet's RandomCenterCropPad only pads.
    steps = [type_name(step) for step in source.cfg.get('pipeline') or []
             if isinstance(step, dict) and not step.get('test_mode') and step.get('prob') != 0]
    by_chance = [name for name in steps if _BY_CHANCE.match(name)]
    if by_chance:
        yield Finding(f'the pipeline of {source.split}_dataloader changes images by chance ({listed(by_chance)}), and '
                      'the metrics with them', 'take such steps out', severity='warning')


def _numbers(values: torch.Tensor) -> str:
    return f'[{", ".join(f"{value:.6g}" for value in values.flatten().tolist())}]'
