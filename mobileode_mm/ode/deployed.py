"""The Channelwise ODE Solver with everything that training moves made constant."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backends import Dispatched, select
from .cos import ChannelwiseODESolver
from .position_norm import PositionNorm, resample_grid
from .resize import as_channels, as_matrices
from .solver_norm import fold_norm, norm_values
from .solvers import SOLVERS


def _euler(target, y, dt):
    """Euler's step without lerp, which in ONNX becomes twice the operators and a choice between their results."""
    return torch.addcmul(y, target(y) - y, dt)


_SOLVERS = {**SOLVERS, 'euler': _euler}


class DeployedODESolver(Dispatched):
    """A trained :class:`ChannelwiseODESolver` for inference alone: same values, no parameters.

    Kept as constants are I + K, the clamped step lengths, and the inner norm as one scale and one shift: for each
    channel, or for each position of maps of ``map_size``. A position norm that has to serve maps of any size keeps its
    four grids, because a resampled scale is not the scale of resampled grids.

    Args:
        solver: Is left as it is.
        map_size: Height and width of the maps it will be given; None serves any. Unused by the channel norm.
        norm: The batch norm that follows the solver, of out_channels, with running statistics: it and a ReLU6 after it
            become part of the solver.

    Raises:
        ValueError: In use: a map of another size than ``map_size``.
    """

    is_deployed = True

    def __init__(self, solver: ChannelwiseODESolver, map_size: tuple[int, int] | None = None,
                 norm: nn.modules.batchnorm._BatchNorm | None = None):
        super().__init__()
        self.in_channels, self.out_channels = solver.in_channels, solver.out_channels
        self.side_in, self.side, self.resize_mode = solver.side_in, solver.side, solver.resize_mode
        self.solver = solver.solver
        self.by_channel = not isinstance(solver.norm, PositionNorm)
        self.map_size = None if self.by_channel else map_size
        self.eps = solver.norm.eps
        self.register_buffer('transitions', solver.identity + solver.taken(solver.matrices).detach())
        self.register_buffer('step_lengths', solver.step_lengths().detach())
        self.register_buffer('resize', solver.resize, persistent=False)
        self.register_buffer('gain', None if solver.gain is None else solver.gain.detach().clone())
        weight, bias, mean, variance = norm_values(solver.norm)
        if self.map_size is not None:
            weight, bias, mean, variance = (resample_grid(grid, self.map_size)
                                            for grid in (weight, bias, mean, variance))
        if self.by_channel or self.map_size is not None:
            scale, shift = fold_norm(weight, bias, mean, variance, self.eps)
            self.register_buffer('scale', scale)
            self.register_buffer('shift', shift)
        else:
            self.register_buffer('grids', torch.stack([weight, bias, mean, variance]))
        after_scale, after_shift = (None, None) if norm is None else fold_norm(*norm_values(norm), norm.eps)
        self.register_buffer('after_scale', after_scale)
        self.register_buffer('after_shift', after_shift)
        self.backend = solver.backend

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), same dtype, in channels_last memory.

        Where a norm follows, the result is ReLU6(norm(y)), plus the residual of its shape where one is given.
        """
        return select(self, x)[0].solve(self, x, residual)

    def by_operators(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """:meth:`forward` by torch's operators, those that a file for other programs consists of."""
        scale, shift = self.norm_for(x)
        if self.by_channel:
            scale, shift = scale.view(self.side, self.side), shift.view(self.side, self.side)
        else:
            scale, shift = scale[..., None, None], shift[..., None, None]
        # As in training, all arithmetic but the matrix products stays in float32.
        dtype = torch.promote_types(x.dtype, torch.float32)
        start = y = as_matrices(x, self.side_in, self.resize, self.gain).to(dtype)
        for transition, step_length in zip(self.transitions, self.step_lengths.to(dtype)):
            def target(state, transition=transition):
                return F.relu6(torch.addcmul(shift, (state.to(x.dtype) @ transition).to(dtype), scale))

            y = _SOLVERS[self.solver](target, y, step_length)
        y = as_channels(y + start).to(x.dtype)
        if self.after_scale is not None:
            y = F.relu6(torch.addcmul(self.after_shift[:, None, None], y, self.after_scale[:, None, None]))
        return y if residual is None else y + residual

    def norm_for(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inner norm's scale and shift: of each channel, (q²,), or of each position of x, (H, W)."""
        if self.by_channel:
            return self.scale, self.shift
        size = tuple(x.shape[2:])
        if self.map_size is None:
            grids = F.interpolate(self.grids[None].to(torch.promote_types(x.dtype, torch.float32)), size=size,
                                  mode='bilinear', align_corners=False)[0]
            return fold_norm(grids[0], grids[1], grids[2], grids[3], self.eps)
        if size != self.map_size:
            raise ValueError(f'this solver was deployed for maps of {self.map_size} and is given one of {size}: give '
                             'images of the size that was named to switch_to_deploy, or name none to it')
        return self.scale, self.shift

    def extra_repr(self) -> str:
        return (f'{self.in_channels}, {self.out_channels}, num_steps={len(self.transitions)}, '
                f'solver={self.solver!r}, map_size={self.map_size}')
