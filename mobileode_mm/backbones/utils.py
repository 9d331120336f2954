"""Questions that one can ask of any backbone."""

import torch
from torch import nn


def feature_channels(backbone: nn.Module) -> tuple[int, ...]:
    """Channels of each output of ``backbone``, ours or a toolbox's.

    Declared ``out_channels`` are believed where they are a sequence; any other backbone is asked with one small
    picture, in eval mode, without gradients. Neither its mode nor the random state is changed.
    """
    declared = getattr(backbone, 'out_channels', None)
    if isinstance(declared, (tuple, list)):
        return tuple(declared)
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.no_grad():
            outputs = backbone(torch.zeros(1, 3, 64, 64, device=next(backbone.parameters()).device))
    finally:
        for module, training in modes.items():
            module.training = training
    return tuple(output.shape[1] for output in outputs)
