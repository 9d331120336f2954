"""Questions that one can ask of any backbone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mobileode_mm.ode import is_exporting

from ..errors import InputError


def feature_channels(backbone: nn.Module) -> tuple[int, ...]:
    """Channels of each output of ``backbone``, ours or a toolbox's.

    Declared ``out_channels`` are believed where they are a sequence; any other backbone is asked with one image of
    64 px, or of 224 px where it refuses such a small one, in eval mode, without gradients. Neither its mode nor the
    random state is changed.
    """
    declared = getattr(backbone, 'out_channels', None)
    if isinstance(declared, (tuple, list)):
        return tuple(declared)
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    device = next(backbone.parameters()).device
    try:
        with torch.no_grad():
            try:
                outputs = backbone(torch.zeros(1, 3, 64, 64, device=device))
            except Exception:  # windows and tables of transformers are made for 224 px; each says it in its own way
                outputs = backbone(torch.zeros(1, 3, 224, 224, device=device))
    finally:
        for module, training in modes.items():
            module.training = training
    return tuple(output.shape[1] for output in outputs)


def fast_layout(x: Tensor) -> Tensor:
    """Images (B, 3, H, W) in the memory layout that networks run fastest in.

    On a CPU that is channels_last: a training step then takes 30 % (MobileODE V1) or 25 % (MobileNetV2) less time, and
    inference of MobileODE V1 on one image 28 %. Elsewhere they come back as they are; not measured on a GPU.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == 'cpu' and not is_exporting() else x


#: Of a 1×1 convolution with a stride and fewer channels than this, the least block of oneDNN's kernels for AVX-512, the
#: gradient of the weights writes past oneDNN's workspace where maps are channels_last (oneDNN 6035): a crash, or wrong
#: values. Stems of MobileOne have such a convolution.
_SAFE_CHANNELS = 16


def guard_gradients(network: nn.Module) -> None:
    """Let the strided 1×1 convolutions of few channels in a network train on maps that are not channels_last."""
    for module in network.modules():
        if (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and max(module.stride) > 1
                and module.in_channels < _SAFE_CHANNELS):
            module.register_forward_pre_hook(_contiguous)


def _contiguous(conv: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    x, = inputs
    return x.contiguous() if conv.training and x.device.type == 'cpu' else x


def with_in_channels(name: str, cfg: dict, in_channels: int | Sequence[int], source: nn.Module) -> dict:
    """Copy of a part's config with the widths that follow from the module before it.

    Args:
        name: The part's key in ``model``, for messages.
        cfg: Its config; ``in_channels`` may be typed there, and must then agree. Of the only map that a part reads it
            is one number or a sequence of one, as that part takes it.
        in_channels: What ``source`` gives it.
        source: The module before it.

    Raises:
        InputError: Typed widths differ.
    """
    def widths(value):
        return (value, ) if isinstance(value, int) else tuple(value)

    typed = cfg.get('in_channels')
    if typed is None:  # mmdet's FPN takes no tuple
        return dict(cfg, in_channels=in_channels if isinstance(in_channels, int) else list(in_channels))
    if widths(typed) != widths(in_channels):
        raise InputError(
            f'model.{name}.in_channels is {typed}, but {type(source).__name__} gives {in_channels}. '
            'Leave in_channels out: it follows from the backbone.')
    return dict(cfg)
