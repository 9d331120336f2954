"""Batch norm of channels inside the solver, with what :class:`PositionNorm` offers beside its forward."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .solver_norm import NormValues, SolverNorm


class ChannelNorm(SolverNorm, nn.BatchNorm1d):
    """Batch norm of the last dimension of (B, H, W, C), its statistics over the three others; knows no size.

    Parameters and buffers are torch's, so that it may be converted to synchronised batch norms and back.
    """

    kind = 'channel'
    shares_statistics = False

    def fixed(self, y: Tensor) -> Tensor:
        weight, bias, mean, var = self.values(y.shape[1:3], y.dtype)
        return F.batch_norm(y.flatten(0, -2), mean, var, weight, bias, eps=self.eps).view_as(y)

    def normalise(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias, mean, var = self.values(y.shape[1:3], y.dtype)
        mean, var = torch.zeros_like(mean), torch.ones_like(var)
        # With momentum 1 the buffers handed in come back as this batch's.
        out = F.batch_norm(y.flatten(0, -2), mean, var, weight, bias, training=True, momentum=1.0, eps=self.eps)
        return out.view_as(y), mean, var

    def values(self, size: tuple[int, int], dtype: torch.dtype) -> NormValues:
        """Weight, bias, running mean and running variance as ``dtype``, (C,) each, for a map of any ``size``."""
        running = self.running()
        return (self.weight.to(dtype), self.bias.to(dtype), running.running_mean.to(dtype),
                running.running_var.to(dtype))

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor) -> None:
        """Let the mean and the unbiased variance of a batch, (C,) each, into the running ones."""
        running = self.running()
        running.num_batches_tracked.add_(1)
        running.running_mean.lerp_(mean.to(running.running_mean.dtype), self.momentum)
        running.running_var.lerp_(var.to(running.running_var.dtype), self.momentum)
