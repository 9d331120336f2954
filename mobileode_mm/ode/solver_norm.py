"""What both norms inside the solver offer to the paths that do not call them as modules."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .statistics import StepStatistics

#: Weight, bias, mean and variance of a norm, all of one shape.
NormValues = tuple[Tensor, Tensor, Tensor, Tensor]


def norm_values(norm: nn.Module) -> NormValues:
    """Those of a norm that takes its running statistics, as they are, without gradients."""
    return norm.weight.detach(), norm.bias.detach(), norm.running_mean, norm.running_var


def fold_norm(weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift that a norm with these statistics comes to; all of one shape."""
    scale = weight * torch.rsqrt(var + eps)
    return scale, bias - mean * scale


def values_per_statistic(layer: nn.Module, x: Tensor) -> int:
    """How many values of a step stand behind each mean and variance of a solver's norm, for its input ``x``."""
    batch, _, height, width = x.shape
    return batch * (layer.out_channels if layer.norm.kind == 'position' else height * width)


class SolverNorm(nn.Module):
    """Mix-in of batch norms.

    Attributes:
        kind: ``'position'`` or ``'channel'``: what the statistics are kept for.
        eps: Added to the variance.
        statistics: The running ones for other numbers of steps; None where there is one number.
    """

    kind: str
    eps: float
    statistics: StepStatistics | None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.statistics = None  # no module of None, which MMEngine's counter of operations cannot print

    def keep_statistics(self, numbers: Sequence[int]) -> None:
        """Have running statistics for each of these numbers of steps, beside the norm's own."""
        self.statistics = StepStatistics(self, numbers)

    def running(self) -> nn.Module:
        """What holds the running statistics of the steps that are taken: this norm, or one of ``statistics``."""
        taken = None if self.statistics is None else self.statistics.taken
        return self if taken is None else taken

    def forward(self, y: Tensor) -> Tensor:
        """Normalise ``y`` of shape (B, H, W, C), float32 or float64; same shape and dtype out."""
        if not self.training:
            return self.fixed(y)
        out, mean, var = self.normalise(y)
        self.track(mean, var)
        return out

    def fixed(self, y: Tensor) -> Tensor:
        """``y`` of shape (B, H, W, C) normalised by the running statistics."""
        raise NotImplementedError

    def normalise(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``y`` of shape (B, H, W, C) by its own statistics, their mean and unbiased variance.

        The running statistics stay as they are.
        """
        raise NotImplementedError

    def values(self, size: tuple[int, int], dtype: torch.dtype) -> NormValues:
        """Weight, bias, running mean and running variance as ``dtype``, for a map of ``size``."""
        raise NotImplementedError

    def track(self, mean: Tensor, var: Tensor) -> None:
        """Let the mean and the unbiased variance of a batch into the running ones."""
        raise NotImplementedError

    def folded(self, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale and shift that the running statistics come to, for a map of ``size``."""
        return fold_norm(*self.values(size, dtype), self.eps)

    def track_steps(self, means: Tensor, variances: Tensor, count: int) -> None:
        """Let the mean and the biased variance of each step, of ``count`` values each, into the running ones."""
        for mean, var in zip(means, variances * (count / (count - 1))):
            self.track(mean, var)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if self.statistics is not None:
            self.statistics.fill(state_dict, f'{prefix}statistics.', prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
