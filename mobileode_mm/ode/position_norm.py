"""Batch norm whose channels are the positions of the feature map (paper: BN in the solver's sigma)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .moments import global_moments, is_distributed
from .solver_norm import NormValues, SolverNorm, fold_norm


def resample_grid(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample a (H, W) grid to ``size`` bilinearly; the very same tensor where the sizes are equal."""
    if tuple(grid.shape) == tuple(size):
        return grid
    dtype = grid.dtype if grid.dtype == torch.float64 else torch.float32
    resized = F.interpolate(grid[None, None].to(dtype), size=size, mode='bilinear', align_corners=False)
    return resized[0, 0].to(grid.dtype)


class PositionNorm(SolverNorm, nn.LayerNorm):
    """Batch norm with statistics, scale and shift for each spatial position.

    For each position the statistics are taken over the batch and all channels. The released program fixes H×W
    when the model is built; here the four grids live on a reference ``grid_size`` and every other H×W is served by
    bilinear resampling, as vision transformers resize position embeddings. In training at another size the batch
    statistics are resampled back to the grid before they enter the running ones. A checkpoint of another grid is
    resampled when it is loaded. A flat entry is refused: it may be a norm of channels, whose number is a square too
    (the released program's flat grids are made square by ``checkpoints.released``).

    A layer norm by its class alone: MMEngine's optimizers know by it which norms ``norm_decay_mult`` is of, and a batch
    norm would be converted to a synchronised one.

    Args:
        grid_size: Height and width of the reference grid.
        eps: Added to the variance.
        momentum: Share of the batch in the running statistics.

    Attributes:
        sync: In training, take the statistics over the batches of all processes (as SyncBN does).

    Raises:
        ValueError: ``grid_size`` has a side under 1.
    """

    kind = 'position'

    def __init__(self, grid_size: Sequence[int], eps: float = 1e-5, momentum: float = 0.1):
        if len(grid_size) != 2 or min(grid_size) < 1:
            raise ValueError(f'grid_size={tuple(grid_size)} must be a height and a width of 1 or more; nearest legal: '
                             '(1, 1)')
        grid_size = (grid_size[0], grid_size[1])
        super().__init__(grid_size, eps)
        self.grid_size = grid_size
        self.momentum = momentum
        self.sync = False
        self.register_buffer('running_mean', torch.zeros(grid_size))
        self.register_buffer('running_var', torch.ones(grid_size))
        self.register_buffer('num_batches_tracked', torch.tensor(0, dtype=torch.long))

    def fixed(self, y: Tensor) -> Tensor:
        weight, bias, mean, var = self.values(tuple(y.shape[1:3]), y.dtype)
        return _affine(y, mean, var, weight, bias, self.eps)

    def normalise(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = tuple(y.shape[1:3])
        weight, bias, _, _ = self.values(size, y.dtype)
        if self.shares_statistics:
            mean, var, count = global_moments(y, (0, 3))
            return _affine(y, mean, var, weight, bias, self.eps), mean.detach(), var.detach() * (count / (count - 1))
        # Positions as the channels of torch's own batch norm: one fused forward and backward. With momentum 1 the
        # buffers handed in come back as this batch's mean and unbiased variance.
        mean, var = torch.zeros_like(bias).flatten(), torch.ones_like(bias).flatten()
        out = F.batch_norm(y.reshape(y.shape[0], -1, y.shape[3]), mean, var, weight.reshape(-1), bias.reshape(-1),
                           training=True, momentum=1.0, eps=self.eps)
        return out.view(y.shape), mean.view(size), var.view(size)

    @property
    def shares_statistics(self) -> bool:
        """Whether a training step takes its statistics over several processes."""
        return self.sync and is_distributed()

    def values(self, size: tuple[int, int], dtype: torch.dtype) -> NormValues:
        """Weight, bias, running mean and running variance, resampled to ``size`` and as ``dtype``."""
        running = self.running()
        weight, bias, mean, variance = self.weight, self.bias, running.running_mean, running.running_var
        # Number by number: what torch.compile makes of a comparison of tuples is felt in every call.
        height, width = self.grid_size
        if size[0] != height or size[1] != width:
            weight, bias, mean, variance = (resample_grid(grid, size) for grid in (weight, bias, mean, variance))
        return weight.to(dtype), bias.to(dtype), mean.to(dtype), variance.to(dtype)

    @torch.no_grad()
    def track(self, mean: Tensor, var: Tensor) -> None:
        """Let the mean and the unbiased variance of a batch, (H, W) each, into the running ones."""
        running = self.running()
        running.num_batches_tracked.add_(1)
        for values, batch in ((running.running_mean, mean), (running.running_var, var)):
            values.lerp_(resample_grid(batch, self.grid_size).to(values.dtype), self.momentum)

    def grids(self) -> list[str]:
        """Names of the entries of its state dict that are grids."""
        return [name for name, value in self.state_dict().items() if value.dim() == 2]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in self.grids():
            value = state_dict.get(prefix + name)
            if value is not None:
                state_dict[prefix + name] = self.fit_grid(value)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def fit_grid(self, value: Tensor) -> Tensor:
        """A checkpoint's grid on this module's grid; a shape that is no grid comes back as it is."""
        return resample_grid(value, self.grid_size) if value.dim() == 2 and value.numel() else value

    def extra_repr(self) -> str:
        return f'grid_size={self.grid_size}, eps={self.eps}, momentum={self.momentum}, sync={self.sync}'


def _affine(y: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    scale, shift = fold_norm(weight, bias, mean, var, eps)
    return torch.addcmul(shift[..., None], y, scale[..., None])
