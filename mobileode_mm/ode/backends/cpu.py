"""The solver by compiled C++ on a CPU: float32 and float64, Euler's steps."""

import torch
from torch import Tensor, nn

from ..resize import as_channels, as_matrices
from ..solver_norm import values_per_statistic
from . import conditions, cpu_operators


def never_serves(layer: nn.Module) -> str | None:
    """Why no call of this layer can go through the kernels; None where one can."""
    if layer.solver != 'euler':
        return f'the kernels take Euler steps, and the solver is {layer.solver!r}'
    if layer.side > cpu_operators.LARGEST_SIDE:
        return f'the kernels hold {cpu_operators.LARGEST_SIDE**2} channels, and there are {layer.out_channels}'
    return None


def declines(layer: nn.Module, x: Tensor) -> str | None:
    """Why the kernels do not compute what the operators would of this call; None where they do."""
    if layer.is_deployed:
        reason = 'a deploy form is not differentiated by kernels' if (
            torch.is_grad_enabled() and x.requires_grad) else None
        weights = layer.transitions
    else:
        reason = conditions.against_norm(layer)
        if reason is None and layer.norm.training:
            reason = conditions.against_batch_statistics(layer, x)
        weights = layer.matrices
    reason = reason or conditions.against_cpu_kernels(x, weights.dtype)
    return reason or (None if cpu_operators.is_available() else 'they cannot be compiled here')


def solve(layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """What ``layer(x)`` returns; lets the batch into the running statistics in training."""
    x_resized = _resized(layer, x)
    if layer.is_deployed:
        return cpu_operators.cos_deployed(x_resized, layer.transitions, layer.step_lengths, *layer.norm_for(x),
                                          layer.after_scale, layer.after_shift, residual)
    norm = layer.norm
    values = norm.values(x.shape[2:], x.dtype)
    if not (norm.training or torch.is_grad_enabled()):
        return cpu_operators.cos_eval(x_resized, layer.taken(layer.matrices), layer.taken(layer.delta_t), *values,
                                      norm.eps, 1 / layer.num_steps)
    weight, bias, mean, variance = values
    arguments = x_resized, layer.taken(layer.matrices), layer.step_lengths(), weight, bias, norm.eps
    if not norm.training:
        return cpu_operators.cos_train(*arguments, mean, variance)[0]
    y, means, variances = cpu_operators.cos_train(*arguments)
    norm.track_steps(means, variances, values_per_statistic(layer, x))
    return y


def resizes(layer: nn.Module) -> bool:
    """Whether the kernels do all that comes before a layer's steps: no resize, or a bilinear one without a gain."""
    return layer.resize is None or (layer.resize_mode == 'bilinear' and layer.gain is None)


def _resized(layer: nn.Module, x: Tensor) -> Tensor:
    """x as the kernels take it: after what they do not resize, by operators."""
    if resizes(layer):
        return x
    return as_channels(as_matrices(x, layer.side_in, layer.resize, layer.gain))
