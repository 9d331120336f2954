"""Inference on CPUs without passes over the maps for norms and activations, which took as long as the convolutions."""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mobileode_mm.ode import fold_norm, is_exporting, is_watched

from .deployed import ChannelAffine

#: oneDNN's name and arguments of the activations that it takes with a convolution.
_ACTIVATIONS = {
    nn.ReLU: ('relu', []),
    nn.ReLU6: ('hardtanh', [0., 6.]),
    nn.SiLU: ('swish', []),
    nn.Hardswish: ('hardswish', []),
}


class LeanConvModule(ConvModule):
    """mmcv's ConvModule, of which inference on a CPU in float32 without gradients is one operator of oneDNN.

    The norm's scale goes into a copy of the weights, on each call: weights that anything changed are seen. Everywhere
    else, and while something watches the parts (hooks, export, counters of operators), it is ConvModule.
    """

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H', W')."""
        if activate and norm and self._is_one_operator(x):
            return self._at_once(x)
        return super().forward(x, activate, norm)

    def _is_one_operator(self, x: Tensor) -> bool:
        if torch.is_grad_enabled() or x.device.type != 'cpu' or x.dtype != torch.float32:
            return False
        if is_exporting() or is_watched() or torch.is_autocast_enabled('cpu') or x.dim() != 4 or not x.numel():
            return False
        if torch.compiler.is_compiling() and not _is_channels_last(x):
            return False
        conv = self.conv
        if type(conv) is not nn.Conv2d or conv.weight.dtype != x.dtype or conv.padding_mode != 'zeros':
            return False
        if self.order != ('conv', 'norm', 'act') or self.with_explicit_padding or isinstance(conv.padding, str):
            return False
        parts = [conv]
        if self.with_norm:
            if not (type(self.norm) is nn.Identity or _is_settled(self.norm)):
                return False
            parts.append(self.norm)
        if self.with_activation:
            if type(self.activate) not in _ACTIVATIONS:
                return False
            parts.append(self.activate)
        return not has_hooks(*parts) and _has_operator()

    def _at_once(self, x: Tensor) -> Tensor:
        conv = self.conv
        weight, bias = conv.weight, conv.bias
        affine = channel_affine(self.norm) if self.with_norm else None
        if affine is not None:
            scale, shift = affine
            weight = weight * scale[:, None, None, None]
            bias = shift if bias is None else torch.addcmul(shift, bias, scale)
        name, arguments = _ACTIVATIONS[type(self.activate)] if self.with_activation else ('none', [])
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, conv.padding, conv.stride, conv.dilation,
                                                       conv.groups, name, arguments, '')


def make_lean(network: nn.Module) -> nn.Module:
    """Let every ConvModule of a network, which is changed in place and returned, be a :class:`LeanConvModule`."""
    for module in network.modules():
        if type(module) is ConvModule:
            module.__class__ = LeanConvModule  # it has no state of its own
    return network


def channel_affine(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Scale and shift of each channel, (C,) each, that a norm comes to now; None where it does not, or is no norm."""
    if isinstance(norm, ChannelAffine):
        return norm.scale.flatten(), norm.shift.flatten()
    if _is_settled(norm):
        return fold_norm(norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)
    return None


def has_hooks(*modules: nn.Module) -> bool:
    """Whether someone wants to be called when one of them is."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def _is_settled(norm: nn.Module) -> bool:
    return (type(norm) is nn.BatchNorm2d and not norm.training and norm.running_mean is not None
            and norm.weight is not None)


def _is_channels_last(x: Tensor) -> bool:
    """Whether a map is in that layout beyond doubt: of any other, Inductor and oneDNN may differ on the output's."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


@torch.compiler.assume_constant_result
def _has_operator() -> bool:
    return torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
