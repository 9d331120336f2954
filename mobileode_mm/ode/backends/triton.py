"""The solver by Triton kernels on a GPU: Euler's steps, bilinear resize. Importing this module imports Triton."""

import torch
from torch import Tensor, nn

from ..solver_norm import values_per_statistic
from ..tracing import is_exporting
from . import conditions, forced_backend, gpus, triton_operators


def never_serves(layer: nn.Module) -> str | None:
    """Why no call of this layer can go through the kernels; None where one can."""
    if layer.is_deployed:
        return 'there is no kernel of the deploy form'
    if layer.solver != 'euler':
        return f'the kernels take Euler steps, and the solver is {layer.solver!r}'
    if layer.resize_mode != 'bilinear':
        return f'the kernels resize bilinearly, and resize_mode is {layer.resize_mode!r}'
    if layer.gain is not None:
        return 'the kernels resize by themselves, and the resized map has a gain'
    if max(layer.side_in, layer.side) > triton_operators.MAX_SIDE:
        return (f'the kernels hold {triton_operators.MAX_SIDE**2} channels, and there are '
                f'{max(layer.in_channels, layer.out_channels)}')
    return None


def declines(layer: nn.Module, x: Tensor) -> str | None:
    """Why the kernels do not compute what the operators would of this call; None where they do."""
    reason = conditions.against_norm(layer)
    if reason is not None:
        return reason
    if not x.is_cuda and not (triton_operators.INTERPRETED and x.device.type == 'cpu'):
        return f'x is on {x.device.type}'
    if is_exporting():
        return 'an exported program runs where the kernels are not'
    if not x.numel():
        return 'x is empty'
    if _stored(x) not in triton_operators.DTYPES:
        return f'x is {_stored(x)}'
    if x.is_cuda and layer.backend == 'auto' and not forced_backend():
        reason = gpus.against(x.device.index, layer.norm.training, _stored(x))
        if reason is not None:
            return reason
    if layer.norm.training:
        return conditions.against_batch_statistics(layer, x)
    return 'a norm in eval mode is not differentiated by the kernels' if _needs_gradients(layer, x) else None


def solve(layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """What ``layer(x)`` returns; lets the batch into the running statistics in training."""
    norm, size, dtype = layer.norm, tuple(x.shape[2:]), x.dtype
    count = values_per_statistic(layer, x)
    x, matrices = x.to(_stored(x)), layer.taken(layer.matrices)
    if not norm.training:
        scale, shift = norm.folded(size, torch.float32)
        y = triton_operators.cos_infer(x, matrices, layer.step_lengths(), scale, shift, norm.kind)
        return y.to(dtype)
    weight, bias, _, _ = norm.values(size, torch.float32)
    y, means, variances = triton_operators.cos_train(x, matrices, layer.step_lengths(), weight, bias, norm.eps,
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
