"""The Channelwise ODE Solver in the form in which the released program computes it: the base of "ratio to as released".

Written from the formulas, for readers who want to follow that ratio. Nothing here is meant to be fast.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mobileode_mm.errors import InputError
from mobileode_mm.ode import ChannelwiseODESolver, PositionNorm


class AsReleasedSolver(nn.Module):
    """COS with positions as the channels of torch's own batch norm, copied into that layout and back.

    Parameters and statistics have the names of :class:`ChannelwiseODESolver`; the four grids are flat.

    Args:
        in_channels: p².
        out_channels: q².
        num_steps: L.
        grid_size: Height and width of every feature map it will see: another size is an error, as released.
    """

    def __init__(self, in_channels: int, out_channels: int, num_steps: int, grid_size: tuple[int, int]):
        super().__init__()
        self.side_in, self.side, self.num_steps = isqrt(in_channels), isqrt(out_channels), num_steps
        self.matrices = nn.Parameter(torch.randn(num_steps, self.side, self.side) * 0.1)
        self.delta_t = nn.Parameter(0.4 + 0.005 * torch.randn(num_steps))
        self.norm = nn.BatchNorm2d(grid_size[0] * grid_size[1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, p², H, W) to (B, q², H, W), both in NCHW memory."""
        batch, _, height, width = x.shape
        y = x.permute(0, 2, 3, 1).contiguous().view(batch, height * width, self.side_in, self.side_in)
        if self.side_in != self.side:
            y = F.interpolate(y, size=(self.side, self.side), mode='bilinear', align_corners=False)
        start = y
        for matrix, delta in zip(self.matrices, self.delta_t):
            step = torch.clamp(delta, min=1 / self.num_steps)
            drive = F.relu6(self.norm(y + y @ matrix))
            y = y + step * (-y + drive)
        y = y + start
        if batch == 1 and y.requires_grad:
            # torch 2.11 on CPUs: of one image, batch norm's backward pass misreads a gradient in channels_last memory
            # whose stride over the single image is not the usual one, as the permutation below gives it.
            y.register_hook(Tensor.contiguous)
        y = y.view(batch, height, width, self.side ** 2)
        return y.permute(0, 3, 1, 2).contiguous()

    @classmethod
    def of(cls, solver: ChannelwiseODESolver) -> 'AsReleasedSolver':
        """A solver with the weights and statistics of ``solver``.

        Raises:
            InputError: ``solver`` has the channel norm, a gain or another solver than Euler's, which the release has
                not.
        """
        if not isinstance(solver.norm, PositionNorm) or solver.solver != 'euler' or solver.gain is not None:
            raise InputError('the released program knows the position norm and Euler steps only, and no gain; leave '
                             '":naive" out')
        released = cls(solver.in_channels, solver.out_channels, solver.num_steps, solver.norm.grid_size)
        released.to(solver.matrices)
        state = dict(solver.state_dict(), matrices=solver.taken(solver.matrices), delta_t=solver.taken(solver.delta_t))
        state |= {f'norm.{name}': value for name, value in solver.norm.running().named_buffers(recurse=False)}
        released.load_state_dict({name: value.flatten() if value.dim() == 2 else value for name, value in state.items()
                                  if not name.startswith('norm.statistics.')})
        return released.train(solver.training)


def as_released(module: nn.Module) -> nn.Module:
    """``module`` with every solver in it replaced, in place; a module that is a solver itself comes back replaced.

    Convolutions, norms and activations are separate again, as they were.
    """
    if isinstance(module, ChannelwiseODESolver):
        return AsReleasedSolver.of(module)
    for name, child in module.named_children():
        setattr(module, name, as_released(child))
    return module
