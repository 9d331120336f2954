"""What several backends ask of a call before they take it."""

import torch
from torch import Tensor, nn

from ..solver_norm import values_per_statistic
from ..tracing import is_exporting


def against_cpu_kernels(x: Tensor, dtype: torch.dtype) -> str | None:
    """Why compiled kernels do not take this input of a layer whose weights are ``dtype``; None where they do."""
    if x.device.type != 'cpu':
        return f'x is on {x.device.type}'
    if is_exporting():
        return 'an exported program runs where the kernels are not'
    if x.dtype not in (torch.float32, torch.float64):
        return f'x is {x.dtype}'
    if dtype != x.dtype:
        return f'x is {x.dtype}, the weights are {dtype}'
    if not x.numel():
        return 'x is empty'
    return 'autocast is on' if torch.is_autocast_enabled('cpu') else None


def against_batch_statistics(layer: nn.Module, x: Tensor) -> str | None:
    """Why kernels cannot take the statistics of this batch in training; None where they can."""
    if layer.norm.shares_statistics:
        return 'several processes share the statistics'
    # torch's batch norm says so.
    return 'one value has no variance' if values_per_statistic(layer, x) == 1 else None


def against_norm(layer: nn.Module) -> str | None:
    """Why kernels do not know the solver's norm; None where they do."""
    if not layer.owns_norm:
        return 'another norm was put in the place of its own'
    # Hooks are called where the norm is called as a module.
    return 'its norm has hooks' if layer.norm._forward_hooks or layer.norm._forward_pre_hooks else None
