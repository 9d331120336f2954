"""The solver layer by :mod:`.triton_operators`: when, and how. Importing this module imports Triton."""

import torch
from torch import Tensor, nn

from ..solver_norm import values_per_statistic
from ..tracing import is_exporting
from . import triton_operators


def serves(layer: nn.Module, x: Tensor) -> bool:
    """Whether the kernels compute what the operators would compute of a :class:`ChannelwiseODESolver`."""
    if layer.solver != 'euler' or layer.resize_mode != 'bilinear' or not layer.owns_norm:
        return False
    if not x.is_cuda and not (triton_operators.INTERPRETED and x.device.type == 'cpu') or is_exporting():
        return False
    if not x.numel() or max(layer.side_in, layer.side) > triton_operators.MAX_SIDE:
        return False
    if _stored(x) not in triton_operators.DTYPES:
        return False
    if layer.norm.training:
        # One value alone has no variance, and torch's batch norm says so.
        return not layer.norm.shares_statistics and values_per_statistic(layer, x) > 1
    return not _needs_gradients(layer, x)


def solve(layer: nn.Module, x: Tensor) -> Tensor:
    """What ``layer(x)`` returns; lets the batch into the running statistics in training."""
    norm, size, dtype = layer.norm, tuple(x.shape[2:]), x.dtype
    count = values_per_statistic(layer, x)
    x = x.to(_stored(x))
    if not norm.training:
        scale, shift = norm.folded(size, torch.float32)
        y = triton_operators.cos_infer(x, layer.matrices, layer.step_lengths(), scale, shift, norm.kind)
        return y.to(dtype)
    weight, bias, _, _ = norm.values(size, torch.float32)
    y, means, variances = triton_operators.cos_train(x, layer.matrices, layer.step_lengths(), weight, bias, norm.eps,
                                               norm.kind)
    norm.track_steps(means, variances, count)
    return y.to(dtype)


def _stored(x: Tensor) -> torch.dtype:
    """The type x goes in as: autocast's where it is on, as into a convolution."""
    kind = x.device.type
    casts = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if casts else x.dtype


def _needs_gradients(layer: nn.Module, x: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or any(value.requires_grad for value in layer.parameters()))
