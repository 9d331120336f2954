"""The solver by torch's operators; in training the backward pass computes the steps again instead of storing them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..resize import as_channels, as_matrices
from ..solvers import SOLVERS
from ..tracing import is_exporting
from . import conditions


def never_serves(layer: nn.Module) -> str | None:
    return None


def declines(layer: nn.Module, x: Tensor) -> str | None:
    return None


def solve(layer: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """What ``layer(x)`` returns; lets the batch into the running statistics in training."""
    if layer.is_deployed:
        return layer.by_operators(x, residual)
    # A norm that was put in the place of the layer's own, or has hooks, is called as a module, once a step.
    if not torch.is_grad_enabled() or conditions.against_norm(layer) or is_exporting():
        return steps(layer, x, layer.apply_norm)
    if not layer.norm.training:
        return checkpoint(steps, layer, x, layer.norm.fixed, use_reentrant=False, preserve_rng_state=False)
    y, moments = checkpoint(_steps_and_moments, layer, x, use_reentrant=False, preserve_rng_state=False)
    for mean, variance in moments:
        layer.norm.track(mean, variance)
    return y


def steps(layer: nn.Module, x: Tensor, norm: Callable[[Tensor], Tensor], states: list[Tensor] | None = None) -> Tensor:
    """The layer's output by torch's operators.

    Args:
        layer: A :class:`ChannelwiseODESolver`.
        x: (B, in_channels, H, W).
        norm: σ's norm of (B, H, W, q²), called once for each evaluation of σ.
        states: Gets y_0 to y_L, (B, H, W, q, q) each.

    Returns:
        Tensor: (B, out_channels, H, W), of x's dtype, in channels_last memory.
    """
    start = y = _at_least_float32(as_matrices(x, layer.side_in, layer.resize, layer.gain))
    step_lengths = layer.step_lengths().to(y.dtype)
    solver = SOLVERS[layer.solver]
    for matrix, step_length in zip(layer.identity + layer.taken(layer.matrices), step_lengths):
        def target(state, matrix=matrix):
            """σ(y + yK) of the state (B, H, W, q, q), ``matrix`` being I + K."""
            z = _at_least_float32(state.to(x.dtype) @ matrix).flatten(3)
            return F.relu6(norm(z)).view_as(state)

        if states is not None:
            states.append(y)
        y = solver(target, y, step_length)
    if states is not None:
        states.append(y)
    return as_channels(y + start).to(x.dtype)


def _steps_and_moments(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """y, and mean and unbiased variance of each evaluation, stacked; running statistics stay as they are."""
    moments = []

    def norm(z):
        z, mean, variance = layer.norm.normalise(z)
        moments.append(torch.stack([mean, variance]))
        return z

    return steps(layer, x, norm), torch.stack(moments)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
