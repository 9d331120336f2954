"""The solver layer by :mod:`.cpu_operators`: when, and how."""

import torch
from torch import Tensor, nn

from ..resize import as_channels, as_matrices
from ..solver_norm import fold_norm, values_per_statistic
from ..tracing import is_exporting
from . import cpu_operators


def knows(solver: str, side: int) -> bool:
    """Whether the compiled file has what a layer of these arguments, trained or deployed, computes."""
    return solver == 'euler' and side <= cpu_operators.LARGEST_SIDE


def resized(layer: nn.Module, x: Tensor) -> Tensor:
    """x as the compiled file takes it, which resizes bilinearly: after any other resize, by operators."""
    if layer.resize_mode == 'bilinear' or layer.resize is None:
        return x
    return as_channels(as_matrices(x, layer.side_in, layer.resize))


def takes(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the compiled file takes this input of a layer whose matrices are ``dtype``, here and now."""
    if x.device.type != 'cpu' or not x.numel() or dtype != x.dtype or x.dtype not in (torch.float32, torch.float64):
        return False
    # Exported programs run where the file is not.
    return not torch.is_autocast_enabled('cpu') and not is_exporting() and cpu_operators.is_available()


def serves(layer: nn.Module, x: Tensor) -> bool:
    """Whether the compiled file computes what the operators would compute of a :class:`ChannelwiseODESolver`."""
    if not (layer.has_native_kernels and layer.owns_norm):
        return False
    # One value alone has no variance, and torch's batch norm says so.
    if layer.norm.training and (layer.norm.shares_statistics or values_per_statistic(layer, x) == 1):
        return False
    return takes(x, layer.matrices.dtype)


def infer(layer: nn.Module, x: Tensor, after: tuple[Tensor, Tensor, Tensor | None] = ()) -> Tensor:
    """What ``layer(x)`` returns in eval mode, without gradients; ``after``: what follows it, as the kernel takes it."""
    norm, values = layer.norm, layer.norm.values(x.shape[2:], x.dtype)
    if after:
        return cpu_operators.cos_deployed(resized(layer, x), layer.identity + layer.matrices, layer.step_lengths(),
                                          *fold_norm(*values, norm.eps), *after)
    return cpu_operators.cos_infer(resized(layer, x), layer.matrices, layer.delta_t, *values, norm.eps,
                                   1 / layer.num_steps)


def solve(layer: nn.Module, x: Tensor) -> Tensor:
    """What ``layer(x)`` returns; lets the batch into the running statistics in training."""
    norm = layer.norm
    if not (norm.training or torch.is_grad_enabled()):
        return infer(layer, x)
    weight, bias, mean, var = norm.values(x.shape[2:], x.dtype)
    arguments = resized(layer, x), layer.matrices, layer.step_lengths(), weight, bias, norm.eps
    if not norm.training:
        return cpu_operators.cos_train(*arguments, mean, var)[0]
    y, means, variances = cpu_operators.cos_train(*arguments)
    norm.track_steps(means, variances, values_per_statistic(layer, x))
    return y
