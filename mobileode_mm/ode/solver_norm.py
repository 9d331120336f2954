"""What both norms inside the solver offer to the paths that do not call them as modules."""

import torch
from torch import Tensor


class SolverNorm:
    """Mix-in of batch norms with ``values(size, dtype)``, ``track(mean, var)`` and ``eps``."""

    def folded(self, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale and shift that the running statistics come to, for a map of ``size``."""
        weight, bias, mean, var = self.values(size, dtype)
        scale = weight * torch.rsqrt(var + self.eps)
        return scale, bias - mean * scale

    def track_steps(self, means: Tensor, variances: Tensor, count: int) -> None:
        """Let the mean and the biased variance of each step, of ``count`` values each, into the running ones."""
        for mean, var in zip(means, variances * (count / (count - 1))):
            self.track(mean, var)
