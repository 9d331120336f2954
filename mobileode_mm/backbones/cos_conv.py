"""``conv_cfg=dict(type='COSConv')``: the solver in the place of any toolbox's 1×1 convolutions."""

from collections import Counter
from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.ode import ChannelwiseODESolver, fold_norm
from mobileode_mm.ode.backends import log_once
from mobileode_mm.ode.checks import known


class SolverConv(nn.Module):
    """A solver with the face of a 1×1 ``nn.Conv2d``: what mmcv's blocks read of a convolution, stride, bias.

    Args:
        in_channels, out_channels: Perfect squares.
        stride: Only every so many positions of the input are computed.
        bias: Whether a bias is added.
        **solver: The other keywords of :class:`ChannelwiseODESolver`.

    Attributes:
        scale: In the deploy form, what the batch norm after it multiplies each channel by.
    """

    kernel_size, padding, output_padding, dilation, groups = (1, 1), (0, 0), (0, 0), (1, 1), 1
    transposed, padding_mode = False, 'zeros'
    scale: Tensor | None

    def __init__(self, in_channels: int, out_channels: int, stride: tuple[int, int] = (1, 1), bias: bool = True,
                 **solver: Any):
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.solver = ChannelwiseODESolver(in_channels, out_channels, **solver)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer('scale', None)

    def init_weights(self) -> None:
        """Nothing: ConvModule leaves a layer that has this method its own initial values."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if self.stride != (1, 1):
            x = x[..., ::self.stride[0], ::self.stride[1]]
        y = self.solver(x)
        if self.scale is not None:
            y = y * self.scale[:, None, None]
        return y if self.bias is None else y + self.bias[:, None, None]

    @torch.no_grad()
    def fold(self, norm: _BatchNorm) -> None:
        """Take in the batch norm that follows, which has running statistics, weight and bias."""
        scale, shift = fold_norm(norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)
        self.scale = scale
        self.bias = nn.Parameter(shift if self.bias is None else self.bias * scale + shift)

    def parameters_saved(self) -> int:
        """How many more a convolution of these widths has."""
        convolution = self.in_channels * self.out_channels + (0 if self.bias is None else self.out_channels)
        return convolution - sum(parameter.numel() for parameter in self.parameters())


@MODELS.register_module()
class COSConv:
    """A solver where a 1×1 convolution is asked for: ``conv_cfg=dict(type='COSConv', num_steps=3, norm='position')``.

    A class because mmcv takes no function as ``type`` of a layer, which configs that import their parts give. What it
    makes is never an instance of it.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: As for
            ``nn.Conv2d``; mmcv's blocks give them.
        otherwise: What becomes of a convolution that a solver cannot stand for (another kernel than 1×1, padding,
            groups, widths that are no perfect squares): ``'conv'`` leaves it an ordinary one, ``'error'`` refuses it.
        **solver: ``num_steps``, ``norm``, ``grid_size`` and the other keywords of :class:`ChannelwiseODESolver`. Give
            ``norm='channel'`` where one layer serves maps of several sizes, as heads of pyramids do: a position
            norm would mix their statistics. ``expand_gain`` is refused where a solver does not expand.

    Returns:
        A :class:`SolverConv`, or an ``nn.Conv2d`` whose attribute ``kept_because`` is the reason.

    Raises:
        ValueError: ``otherwise='error'`` and a solver cannot stand here, or an option is out of its range.
    """

    def __new__(cls, in_channels: int, out_channels: int, kernel_size: int | Sequence[int],  # type: ignore[misc]
                stride: int | Sequence[int] = 1, padding: int | str | Sequence[int] = 0,
                dilation: int | Sequence[int] = 1, groups: int = 1, bias: bool = True, padding_mode: str = 'zeros',
                otherwise: str = 'conv', **solver: Any) -> nn.Module:
        known('otherwise', otherwise, ('conv', 'error'))
        reason = _against(in_channels, out_channels, _pair(kernel_size), padding, groups)
        if reason is None:
            layer = SolverConv(in_channels, out_channels, _pair(stride), bias, **solver)
            log_once(f'COSConv: {in_channels}→{out_channels}, L = {layer.solver.num_steps}, in the place of a 1×1 '
                     f'convolution: {layer.parameters_saved():,} parameters fewer')
            return layer
        if otherwise == 'error':
            raise ValueError(f'COSConv cannot stand for the convolution {in_channels}→{out_channels}: {reason}. '
                             "otherwise='conv' leaves such ones ordinary")
        with torch.random.fork_rng(devices=[]):  # an ordinary network's initial values stay what they are
            ChannelwiseODESolver(1, 4, **solver)  # says what is wrong with the options, used or not
        log_once(f'COSConv: an ordinary convolution {in_channels}→{out_channels} stays: {reason}')
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        conv.kept_because = reason
        return conv


def replacement(network: nn.Module) -> str | None:
    """In a line: how many convolutions of a network COSConv replaced, what it saved, and which ones stay.

    None where the network has nothing of COSConv.
    """
    solvers = [module for module in network.modules() if isinstance(module, SolverConv)]
    kept = Counter(module.kept_because for module in network.modules() if hasattr(module, 'kept_because'))
    if not solvers and not kept:
        return None
    left = sum(parameter.numel() for module in solvers for parameter in module.parameters())
    saved = sum(module.parameters_saved() for module in solvers)
    line = (f'COSConv in the place of {len(solvers)} 1×1 convolutions: {left:,} parameters instead of '
            f'{left + saved:,}, {saved:,} fewer')
    stay = ', '.join(f'{number} ({reason})' for reason, number in kept.most_common())
    return f'{line}; ordinary convolutions stay: {stay}' if stay else line


def fold_norms(network: nn.Module) -> None:
    """Let every solver of a ConvModule, in eval mode, take in the batch norm that follows it there."""
    for module in network.modules():
        if not isinstance(module, ConvModule) or not isinstance(module.conv, SolverConv):
            continue
        norm = module.norm if module.with_norm else None
        follows = module.order.index('norm') == module.order.index('conv') + 1
        if follows and isinstance(norm, _BatchNorm):
            module.conv.fold(norm)
            setattr(module, module.norm_name, nn.Identity())


def _against(in_channels: int, out_channels: int, kernel: tuple[int, int], padding: int | str | Sequence[int],
             groups: int) -> str | None:
    """Why a solver cannot stand for a convolution."""
    if kernel != (1, 1):
        return f'kernel {kernel[0]}×{kernel[1]}'
    if groups != 1:
        return 'groups'
    if padding not in ('valid', 'same') and _pair(padding) != (0, 0):
        return 'padding'
    return next((f'{width} channels, no perfect square' for width in (in_channels, out_channels)
                 if isqrt(width)**2 != width), None)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
