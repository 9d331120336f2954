"""The Channelwise ODE Solver with everything that training moves made constant."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backends import cpu, cpu_operators
from .cos import ChannelwiseODESolver
from .position_norm import PositionNorm, resample_grid
from .resize import as_channels, as_matrices
from .solver_norm import fold_norm
from .solvers import SOLVERS


def _euler(target, y, dt):
    """Euler's step without lerp, which in ONNX becomes twice the operators and a choice between their results."""
    return torch.addcmul(y, target(y) - y, dt)


_SOLVERS = {**SOLVERS, 'euler': _euler}


class DeployedODESolver(nn.Module):
    """A trained :class:`ChannelwiseODESolver` for inference alone: same values, no parameters.

    Kept as constants are I + K, the clamped step lengths, and the inner norm as one scale and one shift: for each
    channel, or for each position of maps of ``map_size``. A position norm that has to serve maps of any size keeps its
    four grids, because a resampled scale is not the scale of resampled grids.

    Args:
        solver: Is left as it is.
        map_size: Height and width of the maps it will be given; None serves any. Unused by the channel norm.

    Raises:
        ValueError: In use: a map of another size than ``map_size``.
    """

    def __init__(self, solver: ChannelwiseODESolver, map_size: tuple[int, int] | None = None):
        super().__init__()
        self.in_channels, self.out_channels = solver.in_channels, solver.out_channels
        self.side_in, self.side, self.resize_mode = solver.side_in, solver.side, solver.resize_mode
        self.solver, self.backend, self.has_native_kernels = solver.solver, solver.backend, solver.has_native_kernels
        self.by_channel = not isinstance(solver.norm, PositionNorm)
        self.map_size = None if self.by_channel else map_size
        self.eps = solver.norm.eps
        self.register_buffer('transitions', solver.identity + solver.matrices.detach())
        self.register_buffer('step_lengths', solver.delta_t.detach().clamp(min=1 / solver.num_steps))
        self.register_buffer('resize', solver.resize, persistent=False)
        norm = [getattr(solver.norm, name).detach() for name in PositionNorm.GRIDS]
        if self.by_channel or map_size is not None:
            norm = norm if self.by_channel else [resample_grid(grid, map_size) for grid in norm]
            scale, shift = fold_norm(*norm, self.eps)
            self.register_buffer('scale', scale)
            self.register_buffer('shift', shift)
        else:
            self.register_buffer('grids', torch.stack(norm))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), same dtype, in channels_last memory."""
        if self._native_serves(x):
            return self._infer(x)
        scale, shift = self._norm(x)
        if self.by_channel:
            scale, shift = scale.view(self.side, self.side), shift.view(self.side, self.side)
        else:
            scale, shift = scale[..., None, None], shift[..., None, None]
        # As in training, all arithmetic but the matrix products stays in float32.
        dtype = torch.promote_types(x.dtype, torch.float32)
        start = y = as_matrices(x, self.side_in, self.resize).to(dtype)
        for transition, step_length in zip(self.transitions, self.step_lengths.to(dtype)):
            def target(state, transition=transition):
                return F.relu6(torch.addcmul(shift, (state.to(x.dtype) @ transition).to(dtype), scale))

            y = _SOLVERS[self.solver](target, y, step_length)
        return as_channels(y + start).to(x.dtype)

    def infers_with_relu6(self, x: Tensor) -> bool:
        """As of :class:`ChannelwiseODESolver`."""
        return not torch.is_grad_enabled() and self._native_serves(x)

    def infer_with_relu6(self, x: Tensor, scale: Tensor, shift: Tensor, residual: Tensor | None = None) -> Tensor:
        """As of :class:`ChannelwiseODESolver`."""
        return self._infer(x, (scale, shift, residual))

    def _infer(self, x: Tensor, after: tuple[Tensor, Tensor, Tensor | None] = ()) -> Tensor:
        return cpu_operators.cos_deployed(cpu.resized(self, x), self.transitions, self.step_lengths, *self._norm(x),
                                          *after)

    def _norm(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift: of each channel, (q²,), or of each position, (H, W)."""
        if self.by_channel:
            return self.scale, self.shift
        size = tuple(x.shape[2:])
        if self.map_size is None:
            grids = F.interpolate(self.grids[None].to(torch.promote_types(x.dtype, torch.float32)), size=size,
                                  mode='bilinear', align_corners=False)[0]
            return fold_norm(*grids, self.eps)
        if size != self.map_size:
            raise ValueError(f'this solver was deployed for maps of {self.map_size} and is given one of {size}: give '
                             'pictures of the size that was named to switch_to_deploy, or name none to it')
        return self.scale, self.shift

    def _native_serves(self, x: Tensor) -> bool:
        """Whether :mod:`.cpu_operators` computes what the operators would; exported programs run where it is not."""
        return (self.backend == 'auto' and self.has_native_kernels and not (torch.is_grad_enabled() and x.requires_grad)
                and cpu.takes(x, self.transitions.dtype))

    def extra_repr(self) -> str:
        return (f'{self.in_channels}, {self.out_channels}, num_steps={len(self.transitions)}, '
                f'solver={self.solver!r}, map_size={self.map_size}')
