"""The solver layer by :mod:`.cos_native`: when, and how."""

import torch
from torch import Tensor, nn

from . import cos_native
from .solver_norm import values_per_statistic
from .tracing import is_exporting


def has_kernels(layer: nn.Module, x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the compiled file knows the kind of a solver, trained or deployed, and of its input.

    Args:
        layer: With ``solver``, ``resize_mode`` and ``side``.
        x: Its input.
        dtype: Of its matrices.
    """
    if x.device.type != 'cpu' or not x.numel() or layer.solver != 'euler' or layer.resize_mode != 'bilinear':
        return False
    if x.dtype not in (torch.float32, torch.float64) or dtype != x.dtype:
        return False
    # Exported programs run where the file is not.
    return not torch.is_autocast_enabled('cpu') and layer.side <= cos_native.LARGEST_SIDE and not is_exporting()


def serves(layer: nn.Module, x: Tensor) -> bool:
    """Whether the compiled file computes what the operators would compute of a :class:`ChannelwiseODESolver`."""
    if not has_kernels(layer, x, layer.matrices.dtype) or not layer.owns_norm:
        return False
    # One value alone has no variance, and torch's batch norm says so.
    if layer.norm.training and (layer.norm.shares_statistics or values_per_statistic(layer, x) == 1):
        return False
    return cos_native.is_available()


def infer(layer: nn.Module, x: Tensor, after: tuple[Tensor, Tensor, Tensor | None] = ()) -> Tensor:
    """What ``layer(x)`` returns in eval mode, without gradients; ``after``: what follows it, as the kernel takes it."""
    scale, shift = layer.norm.folded(tuple(x.shape[2:]), x.dtype)
    return cos_native.cos_infer(x, layer.matrices, layer.step_lengths(), scale, shift, scale.dim() == 1, *after)


def solve(layer: nn.Module, x: Tensor) -> Tensor:
    """What ``layer(x)`` returns; lets the batch into the running statistics in training."""
    norm = layer.norm
    if not (norm.training or torch.is_grad_enabled()):
        return infer(layer, x)
    size = tuple(x.shape[2:])
    weight, bias, mean, var = norm.values(size, x.dtype)
    arguments = x, layer.matrices, layer.step_lengths(), weight, bias, norm.eps
    if not norm.training:
        return cos_native.cos_train(*arguments, mean, var)[0]
    y, means, variances = cos_native.cos_train(*arguments)
    norm.track_steps(means, variances, values_per_statistic(layer, x))
    return y
