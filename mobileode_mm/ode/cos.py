"""The Channelwise ODE Solver as a layer."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import cos_native
from .checks import square_side
from .position_norm import PositionNorm
from .resize import bilinear_matrix
from .solvers import SOLVERS

NORMS = ('position', 'channel')
BACKENDS = ('auto', 'reference')
# Before torch 2.7 an export cannot be told from a compilation.
_is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)


class ChannelwiseODESolver(nn.Module):
    """Mixes channels by a few explicit steps of an ODE, in the place of a 1×1 convolution.

    Each position's channels, seen as a p×p matrix and resized to q×q, follow dy/dt = −y + σ(y + yK_l) with
    σ = ReLU6 ∘ norm for L steps of learnable length max(1/L, δ_l); the start is added to the end. All arithmetic
    but the matrix products stays in float32 under autocast. Source: MobileODE (NeurIPS 2025), section on COS, and the
    released program's initial values: K ~ N(0, 0.1²), δ ~ N(0.4, 0.005²).

    Args:
        in_channels: p², a perfect square.
        out_channels: q², a perfect square.
        num_steps: L, 1 or more.
        grid_size: Reference grid (height, width) of the position norm, or one number for both. Other sizes are
            served by resampling (:class:`PositionNorm`). Unused by the channel norm.
        norm: ``'position'`` as released, or ``'channel'``: batch norm of the q² channels, which knows no size.
        solver: Name in :data:`SOLVERS`.
        backend: ``'auto'`` takes compiled kernels where there are some (:mod:`.cos_native`: CPU, float32 and float64,
            Euler), ``'reference'`` always torch's operators, which can be differentiated twice.

    Raises:
        ValueError: An argument is out of its range; the message names it, its value and the nearest legal ones.
    """

    def __init__(self, in_channels: int, out_channels: int, num_steps: int = 3,
                 grid_size: int | Sequence[int] = 8, norm: str = 'position', solver: str = 'euler',
                 backend: str = 'auto'):
        super().__init__()
        side_in = square_side('in_channels', in_channels)
        side = square_side('out_channels', out_channels)
        if num_steps < 1:
            raise ValueError(f'num_steps={num_steps} is under 1; nearest legal: 1')
        if norm not in NORMS:
            raise ValueError(f'norm={norm!r} is unknown; legal: {", ".join(map(repr, NORMS))}')
        if solver not in SOLVERS:
            raise ValueError(f'solver={solver!r} is unknown; legal: {", ".join(map(repr, SOLVERS))}')
        if backend not in BACKENDS:
            raise ValueError(f'backend={backend!r} is unknown; legal: {", ".join(map(repr, BACKENDS))}')
        self.in_channels, self.out_channels, self.num_steps = in_channels, out_channels, num_steps
        self.side_in, self.side = side_in, side
        self.solver = solver
        self.backend = backend
        self.matrices = nn.Parameter(torch.randn(num_steps, side, side) * 0.1)
        self.delta_t = nn.Parameter(0.4 + 0.005 * torch.randn(num_steps))
        if norm == 'position':
            grid_size = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
            self.norm = PositionNorm(grid_size)
        else:
            self.norm = nn.BatchNorm1d(out_channels)
        # Constants of the sizes alone: rebuilt with the layer, so no checkpoint carries them.
        self.register_buffer('identity', torch.eye(side), persistent=False)
        self.register_buffer('resize', bilinear_matrix(side_in, side).float() if side_in != side else None,
                             persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), same dtype, in channels_last memory."""
        if self._native_serves(x):
            return self._native(x)
        y = x.permute(0, 2, 3, 1).contiguous().unflatten(3, (self.side_in, self.side_in))
        if self.resize is not None:
            y = self.resize @ y @ self.resize.T
        start = y = _at_least_float32(y)
        step_lengths = self.delta_t.clamp(min=1 / self.num_steps).to(y.dtype)
        solver = SOLVERS[self.solver]
        for matrix, step_length in zip(self.identity + self.matrices, step_lengths):
            y = solver(lambda state, matrix=matrix: self._target(state, matrix, x.dtype), y, step_length)
        return (y + start).flatten(3).permute(0, 3, 1, 2).to(x.dtype)

    def _native_serves(self, x: Tensor) -> bool:
        """Whether :mod:`.cos_native` computes what the operators would."""
        if self.backend != 'auto' or self.solver != 'euler' or x.device.type != 'cpu' or not x.numel():
            return False
        if x.dtype not in (torch.float32, torch.float64) or self.matrices.dtype != x.dtype:
            return False
        if torch.is_autocast_enabled('cpu') or self.side > cos_native.LARGEST_SIDE:
            return False
        # Exported programs have to run where this package is not.
        if torch.jit.is_tracing() or torch.jit.is_scripting() or _is_exporting():
            return False
        by_position = isinstance(self.norm, PositionNorm)
        if self.norm.training:
            # One value alone has no variance, and torch's batch norm says so.
            if not by_position or self.norm.shares_statistics or x.shape[0] * self.out_channels == 1:
                return False
        elif not by_position and torch.is_grad_enabled():
            return False
        return cos_native.is_available()

    def _native(self, x: Tensor) -> Tensor:
        step_lengths = self.delta_t.clamp(min=1 / self.num_steps)
        norm = self.norm
        if not isinstance(norm, PositionNorm):
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            shift = norm.bias - norm.running_mean * scale
            return cos_native.cos_infer(x, self.matrices, step_lengths, scale, shift, True)
        size = tuple(x.shape[2:])
        weight, bias, mean, var = norm.grids(size, x.dtype)
        if not norm.training:
            return cos_native.cos_train(x, self.matrices, step_lengths, weight, bias, norm.eps, mean, var)[0]
        y, means, variances = cos_native.cos_train(x, self.matrices, step_lengths, weight, bias, norm.eps)
        count = x.shape[0] * self.out_channels
        for mean, var in zip(means, variances * (count / (count - 1))):
            norm.track(mean, var)
        return y

    def _target(self, y: Tensor, matrix: Tensor, dtype: torch.dtype) -> Tensor:
        """σ(y + yK) of the state (B, H, W, q, q), ``matrix`` being I + K."""
        z = _at_least_float32(y.to(dtype) @ matrix).flatten(3)
        if isinstance(self.norm, PositionNorm):
            z = self.norm(z)
        else:
            z = self.norm(z.flatten(0, 2)).view_as(z)
        return F.relu6(z).view_as(y)

    def extra_repr(self) -> str:
        return f'{self.in_channels}, {self.out_channels}, num_steps={self.num_steps}, solver={self.solver!r}'


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
