"""What both norms inside the solver offer to the paths that do not call them as modules."""

import torch
from torch import Tensor


def fold_norm(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift that a norm with these statistics comes to; all of one shape."""
    scale = weight * torch.rsqrt(var + eps)
    return scale, bias - mean * scale


class SolverNorm:
    """Mix-in of batch norms with ``values(size, dtype)``, ``track(mean, var)`` and ``eps``."""

    def folded(self, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale and shift that the running statistics come to, for a map of ``size``."""
        return fold_norm(*self.values(size, dtype), self.eps)

    def track_steps(self, means: Tensor, variances: Tensor, count: int) -> None:
        """Let the mean and the biased variance of each step, of ``count`` values each, into the running ones."""
        for mean, var in zip(means, variances * (count / (count - 1))):
            self.track(mean, var)
