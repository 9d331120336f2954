"""The Channelwise ODE Solver as a layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .backends import ORDERS, Dispatched, operators, select
from .channel_norm import ChannelNorm
from .checks import known, spread, square_side
from .position_norm import PositionNorm
from .resize import RESIZE_MODES, as_channels, resize_matrix
from .solver_norm import SolverNorm
from .solvers import SOLVERS

NORMS = ('position', 'channel')


class ChannelwiseODESolver(Dispatched):
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
        backend: Who computes it: ``backend_for(x)`` names it, with the reason. What kernels decline goes through
            torch's operators.

            - ``'auto'``: compiled kernels where there are some (CPU, float32 and float64, Euler; any resize but the
              bilinear one, or with a gain, goes before them, by operators). On a GPU that is Triton's kernels where
              the table of measured GPUs says that this architecture ran them right and faster, else torch's operators;
              so far of an H100 (docs/gpu.md).
            - ``'triton'``: on a GPU: Euler and bilinear, up to 4096 channels, float32, float16, bfloat16 and autocast
              to these; training, and inference without gradients. Not served are a gain, a norm in eval mode with
              gradients, statistics shared by several processes, and export.
            - ``'operators'``: torch's operators alone, on any device.
            - ``'reference'``: torch's operators, as plain as can be: every step is stored for the backward
              pass, can be differentiated twice and by ``torch.func``, and the norm is called as a module.

            But for ``'reference'`` no path stores the steps: the backward pass recomputes them, so that memory between
            the passes does not grow with L. The one exception are channel norms that were made synchronised ones.
        learnable_step: False fixes δ, as a buffer: 1/L, unless a checkpoint brings others.
        resize_mode: Name in :data:`RESIZE_MODES`, ``'bilinear'`` as released: how p×p becomes q×q.
        expand_gain: A learned factor for each channel of the resized map, of an expanding solver (q > p) alone: the
            standard deviation of the initial values, whose mean is 1. None, as released, has no factors.
        init_std: Standard deviation of the initial values of K.

    Attributes:
        gain: The learned factors, (q²,), or None.
        num_steps: L. A smaller number takes the first steps alone, each of max(1/L, δ_l) with that L; the norm then
            needs the statistics of so many steps (:meth:`SolverNorm.keep_statistics`).

    Raises:
        ValueError: An argument is out of its range; the message names it, its value and the nearest legal ones.
        ImportError: ``backend='triton'`` where Triton is not installed.
    """

    is_deployed = False

    def __init__(self, in_channels: int, out_channels: int, num_steps: int = 3,
                 grid_size: int | Sequence[int] = 8, norm: str = 'position', solver: str = 'euler',
                 backend: str = 'auto', learnable_step: bool = True, resize_mode: str = 'bilinear',
                 expand_gain: float | None = None, init_std: float = 0.1):
        super().__init__()
        side_in = square_side('in_channels', in_channels)
        side = square_side('out_channels', out_channels)
        if num_steps < 1:
            raise ValueError(f'num_steps={num_steps} is under 1; nearest legal: 1')
        known('norm', norm, NORMS)
        known('solver', solver, SOLVERS)
        known('backend', backend, ORDERS)
        known('resize_mode', resize_mode, RESIZE_MODES)
        spread('init_std', init_std)
        if expand_gain is not None:
            spread('expand_gain', expand_gain)
            if side <= side_in:
                raise ValueError(f'expand_gain={expand_gain} is of solvers that expand, and this one makes '
                                 f'{out_channels} channels of {in_channels}; legal: None')
        self.in_channels, self.out_channels, self.num_steps = in_channels, out_channels, num_steps
        self.side_in, self.side = side_in, side
        self.solver, self.resize_mode = solver, resize_mode
        self.matrices = nn.Parameter(torch.randn(num_steps, side, side) * init_std)
        if learnable_step:
            self.delta_t = nn.Parameter(0.4 + 0.005 * torch.randn(num_steps))
        else:
            self.register_buffer('delta_t', torch.full((num_steps, ), 1 / num_steps))
        gain = None if expand_gain is None else nn.Parameter(1 + expand_gain * torch.randn(out_channels))
        self.register_parameter('gain', gain)
        if norm == 'position':
            grid_size = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
            self.norm = PositionNorm(grid_size)
        else:
            self.norm = ChannelNorm(out_channels)
        # Constants of the sizes alone: rebuilt with the layer, so no checkpoint carries them.
        self.register_buffer('identity', torch.eye(side), persistent=False)
        resize = resize_matrix(side_in, side, resize_mode).float() if side_in != side else None
        self.register_buffer('resize', resize, persistent=False)
        self.backend = backend

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), same dtype, in channels_last memory."""
        return select(self, x)[0].solve(self, x)

    @torch.no_grad()
    def trajectory(self, x: Tensor) -> Tensor:
        """The states of :meth:`forward` in eval mode: y_0, the resized input and its gain, to y_L, without y_0 added.

        (B, in_channels, H, W) to (L + 1, B, out_channels, H, W).
        """
        states: list[Tensor] = []
        operators.steps(self, x, self.norm.fixed, states)
        return torch.stack([as_channels(state) for state in states])

    def taken(self, values: Tensor) -> Tensor:
        """Of ``matrices`` or ``delta_t`` those of the steps that are taken: the first ``num_steps``."""
        return values if len(values) == self.num_steps else values[:self.num_steps]

    def step_lengths(self) -> Tensor:
        """Δt_1..Δt_L: max(1/L, δ_l), (L,)."""
        return self.taken(self.delta_t).clamp(min=1 / self.num_steps)

    @property
    def owns_norm(self) -> bool:
        """Whether the norm is this layer's own, and no synchronised batch norm was put in its place."""
        return isinstance(self.norm, SolverNorm)

    def apply_norm(self, z: Tensor) -> Tensor:
        """σ's norm of (B, H, W, q²) by its module; one that was put in its place knows (N, q²) alone."""
        return self.norm(z) if self.owns_norm else self.norm(z.flatten(0, 2)).view_as(z)

    def extra_repr(self) -> str:
        return f'{self.in_channels}, {self.out_channels}, num_steps={self.num_steps}, solver={self.solver!r}'

