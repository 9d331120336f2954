"""Convolutions of the deploy form, which are one operator of oneDNN with the activation after them."""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mobileode_mm.ode import is_watched
from mobileode_mm.ode.backends import conditions, forced_backend, log_once
from mobileode_mm.ode.tracing import assume_constant_result

#: oneDNN's name and arguments of the activations that it takes with a convolution.
_ACTIVATIONS = {
    nn.ReLU: ('relu', []),
    nn.ReLU6: ('hardtanh', [0., 6.]),
    nn.SiLU: ('swish', []),
    nn.Hardswish: ('hardswish', []),
    nn.Identity: ('none', []),
}


class FusedConv(nn.Module):
    """A convolution and its activation, in one pass over the map on a CPU in float32.

    Args:
        conv: A convolution that pads with zeros.
        activate: ReLU, ReLU6, SiLU, Hardswish, or Identity.
    """

    def __init__(self, conv: nn.Conv2d, activate: nn.Module):
        super().__init__()
        self.conv = conv
        self.activate = activate

    @staticmethod
    def serves(module: nn.Module) -> bool:
        """Whether a module is a ConvModule whose parts, the norm being folded, are what this class holds."""
        return (type(module) is ConvModule and type(module.conv) is nn.Conv2d and not module.with_explicit_padding
                and module.conv.padding_mode == 'zeros' and not isinstance(module.conv.padding, str)
                and module.order == ('conv', 'norm', 'act')
                and (not module.with_norm or type(module.norm) is nn.Identity)
                and (not module.with_activation or type(module.activate) in _ACTIVATIONS))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W')."""
        name, reason = self.backend_for(x)
        conv = self.conv
        if name == 'onednn':
            return torch.ops.mkldnn._convolution_pointwise(x, conv.weight, conv.bias, conv.padding, conv.stride,
                                                           conv.dilation, conv.groups,
                                                           *_ACTIVATIONS[type(self.activate)], '')
        log_once(f'FusedConv runs by operators: {reason}')
        return self.activate(conv(x))

    def backend_for(self, x: Tensor) -> tuple[str, str]:
        """``'onednn'``, or ``'operators'`` and the reason."""
        reason = self._against(x)
        return ('operators', reason) if reason else ('onednn', '')

    def _against(self, x: Tensor) -> str | None:
        if forced_backend() in ('operators', 'reference'):
            return f'{forced_backend()} is forced'
        reason = conditions.against_cpu_kernels(x, self.conv.weight.dtype)
        if reason:
            return f'onednn: {reason}'
        if x.dtype != torch.float32:
            return f'onednn: x is {x.dtype}'
        if torch.is_grad_enabled() and x.requires_grad:
            return 'onednn: the operator has no gradient'
        if x.dim() != 4:
            return 'onednn: x has no batch'
        if torch.compiler.is_compiling() and not _is_channels_last(x):
            return 'onednn: x is not in channels_last memory, of any other Inductor and oneDNN may differ'
        if is_watched():
            return 'onednn: a mode of torch watches the operators'
        return None if _has_onednn() else 'onednn: torch was built without it, or it is switched off'


def fuse_activations(network: nn.Module) -> None:
    """Replace every ConvModule of a network, its norm folded, by a :class:`FusedConv` where that serves."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if FusedConv.serves(child):
                setattr(parent, name, FusedConv(child.conv, child.activate if child.with_activation else nn.Identity()))


def _is_channels_last(x: Tensor) -> bool:
    """Whether a map is in that layout beyond doubt."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


@assume_constant_result
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
