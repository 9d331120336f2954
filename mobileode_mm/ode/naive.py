"""The Channelwise ODE Solver written straight from its formulas: slow, plain, any float dtype."""

from collections.abc import Callable
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor


def cos_naive(x: Tensor, matrices: Tensor, delta_t: Tensor, norm: Callable[[Tensor], Tensor],
              gain: Tensor | None = None) -> Tensor:
    """Channelwise ODE Solver, the reference that every other path is compared with.

    Args:
        x: (B, p², H, W).
        matrices: K_1..K_L, (L, q, q).
        delta_t: Learnable time increments δ_1..δ_L, (L,); a step is max(1/L, δ_l).
        norm: Maps (B, H, W, q²) to the same shape; called once a step.
        gain: Factors of the channels of the resized map, (q²,); None has none.

    Returns:
        Tensor: (B, q², H, W).
    """
    batch, channels, height, width = x.shape
    num_steps, side, _ = matrices.shape
    y = x.permute(0, 2, 3, 1).reshape(batch * height * width, 1, isqrt(channels), isqrt(channels))
    y = F.interpolate(y, size=(side, side), mode='bilinear', align_corners=False)
    y = y.reshape(batch, height, width, side, side)
    if gain is not None:
        y = y * gain.view(side, side)
    start = y
    for matrix, delta in zip(matrices, delta_t):
        step = torch.clamp(delta, min=1 / num_steps)
        drive = (y + y @ matrix).flatten(3)
        drive = F.relu6(norm(drive)).view_as(y)
        y = y + step * (drive - y)
    return (y + start).flatten(3).permute(0, 3, 1, 2)
