"""The deployed solver as the operators that other programs run fastest: what files consist of."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backends import build, cpu, cpu_operators
from .deployed import DeployedODESolver
from .solver_norm import fold_norm
from .solvers import SOLVERS
from .tracing import is_exporting

#: Numbers of a map up to which a position norm's products are those of (B, H·W, q, q) with one q×q matrix; beyond, they
#: are a convolution of q groups. `mobileode bench-layouts` measures both (docs/deploy.md).
MATRICES_UP_TO = 250_000
#: Where less than this share of a state stays, its step is taken plainly: telescoped, it would divide by the rest.
_LEAST_REST = 2**-10
#: A batch norm's epsilon and variance that add up to 1.
_EPS, _VARIANCE = 2**-17, 1 - 2**-17


class Step(NamedTuple):
    """An Euler step on w = y / c: w ← keep · w + clip(s · product · wT + shift · t, 0, 6 · shift).

    Attributes:
        keep: 1 where the step is telescoped, 0 where nothing of the state stays.
        product: Factor of the matrix T.
        shift: Factor of the norm's shift t and of the 6.
    """
    keep: float
    product: float
    shift: float


def telescoped(step_lengths: Sequence[float]) -> tuple[list[Step], float]:
    """The steps on w, and c after the last of them.

    y ← (1 − Δ)·y + Δ·clip(s·yT + t, 0, 6) is a sum without factors on w = y / c, where c ← c·(1 − Δ) in each step. A
    step that leaves little of y, or nothing, is a plain one: c is 1 after it.
    """
    steps, scale = [], 1.
    for length in step_lengths:
        rest = 1 - length
        if rest >= _LEAST_REST:
            after = scale * rest
            steps.append(Step(1., scale * length / after, length / after))
        else:
            after = 1.
            steps.append(Step(scale * rest, scale * length, length))
        scale = after
    return steps, scale


class ExportedODESolver(nn.Module):
    """A :class:`DeployedODESolver` for files: same values, few operators a step, none of them ours.

    Products are convolutions of q groups without any transpose, in which a norm of channels is weights and bias. For a
    position norm on small maps of known size they are products of matrices, and it is a batch norm over the positions.
    Euler's steps are telescoped. The norm after the solver is a depthwise convolution. Runtimes take the clip that
    follows a convolution into it. All factors are numbers before anything is traced: read off tensors, they would
    become operators of the program.

    Args:
        deployed: Is left as it is.
        matrices_up_to: Numbers of a map up to which a position norm's products are those of matrices; infinite: a
            norm of channels too.
    """

    def __init__(self, deployed: DeployedODESolver, matrices_up_to: float = MATRICES_UP_TO):
        super().__init__()
        self.solver, self.by_channel, self.eps = deployed.solver, deployed.by_channel, deployed.eps
        self.side_in, self.side = deployed.side_in, deployed.side
        self.step_lengths = deployed.step_lengths.double().tolist()
        self.steps, self.rest = telescoped(self.step_lengths)
        if self.solver != 'euler':
            self.steps, self.rest = [Step(1., 1., 1.)] * len(self.step_lengths), 1.
        self.any_size = not self.by_channel and deployed.map_size is None
        # Convolutions have the norm of channels for nothing, which matrices have not.
        size = deployed.map_size
        numbers = math.inf if size is None else size[0] * size[1] * self.side**2
        self.by_matrices = not self.any_size and numbers <= matrices_up_to
        dtype = deployed.transitions.dtype

        def keep(name, values):
            self.register_buffer(name, values if values is None else values.to(dtype))

        products = torch.stack([matrix.double() * step.product
                                for matrix, step in zip(deployed.transitions, self.steps)])
        if not self.by_matrices:
            # Of group i, which is row i of the matrices: output j of input k is product[k, j].
            products = products.mT[:, None].expand(-1, self.side, -1, -1)
            if self.by_channel:
                products = products * deployed.scale.double().view(self.side, self.side, 1)
            products = products.reshape(-1, self.side**2, self.side, 1, 1)
        keep('products', products)
        keep('resize', deployed.resize)
        keep('gain', None if deployed.gain is None else deployed.gain.view(-1, 1, 1))
        if self.any_size:
            keep('grids', deployed.grids)
        else:
            shape = (self.side, self.side) if self.by_channel and self.by_matrices else deployed.scale.shape
            keep('scale', None if self.by_channel and not self.by_matrices else deployed.scale.view(shape))
            keep('shifts', torch.stack([(deployed.shift.double() * step.shift).view(shape) for step in self.steps]))
        if self.by_matrices and not self.by_channel:
            keep('mean', torch.zeros_like(self.scale).flatten())
            keep('variance', torch.full_like(self.mean, _VARIANCE))
        after = deployed.after_scale
        keep('after_weight', None if after is None else after.view(-1, 1, 1, 1))
        keep('after_bias', deployed.after_shift)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """As :meth:`DeployedODESolver.forward`, in any memory layout."""
        height, width = x.shape[2:]
        y = self._resized(x)
        if self.by_matrices:
            y = y.permute(0, 2, 3, 1).reshape(-1, height * width, self.side, self.side)
        start = y
        scale, shifts = self._norm((height, width))
        for number, (step, length) in enumerate(zip(self.steps, self.step_lengths)):
            def target(state, number=number, step=step):
                drive = self._drive(state, self.products[number], scale, shifts[number])
                return torch.clamp(drive, 0., 6 * step.shift)

            if self.solver != 'euler':
                y = SOLVERS[self.solver](target, y, length)
            elif step.keep:
                y = _scaled(y, step.keep) + target(y)
            else:
                y = target(y)
        y = _scaled(y, self.rest) + start
        if self.by_matrices:
            y = y.reshape(-1, height, width, self.side**2).permute(0, 3, 1, 2)
        if self.after_weight is not None:
            y = F.relu6(F.conv2d(y, self.after_weight, self.after_bias, groups=self.side**2))
        return y if residual is None else y + residual

    def _resized(self, x: Tensor) -> Tensor:
        """x with the matrices of its channels resized, by products that leave each channel's map in one piece, and
        multiplied by the gain.
        """
        if self.resize is None:
            return x
        height, width = x.shape[2:]
        rows = self.resize @ x.reshape(-1, self.side_in, self.side_in, height * width)
        both = self.resize @ rows.reshape(-1, self.side_in, self.side * height * width)
        resized = both.reshape(-1, self.side**2, height, width)
        return resized if self.gain is None else resized * self.gain

    def _norm(self, size: tuple[int, int]) -> tuple[Tensor | None, Sequence[Tensor]]:
        """Scale (None where the products have it), and each step's shift."""
        if not self.any_size:
            return self.scale, self.shifts
        grids = F.interpolate(self.grids[None], size=size, mode='bilinear', align_corners=False)[0]
        scale, shift = fold_norm(grids[0], grids[1], grids[2], grids[3], self.eps)
        return scale, [_scaled(shift, step.shift) for step in self.steps]

    def _drive(self, state: Tensor, product: Tensor, scale: Tensor | None, shift: Tensor) -> Tensor:
        """The norm of the state's product with the transition."""
        if self.by_matrices and self.by_channel:
            return state @ product * scale + shift
        if self.by_matrices:
            return F.batch_norm(state @ product, self.mean, self.variance, self.scale.flatten(),
                                shift.flatten(), eps=_EPS)
        if scale is None:
            return F.conv2d(state, product, shift, groups=self.side)
        return F.conv2d(state, product, groups=self.side) * scale + shift

    def extra_repr(self) -> str:
        return f'side={self.side}, num_steps={len(self.steps)}, solver={self.solver!r}, by_matrices={self.by_matrices}'


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else x * factor


class KernelODESolver(nn.Module):
    """A :class:`DeployedODESolver` for ONNX files whose runtime is given our kernel: one node, ``mobileode``'s.

    The kernel reads and writes maps with the channels last. Beside an export it is PyTorch's operator of it.

    Args:
        deployed: One that :meth:`serves` says yes to; is left as it is.
    """

    def __init__(self, deployed: DeployedODESolver):
        super().__init__()
        build.load_library()
        self.deployed = deployed

    @staticmethod
    def serves(deployed: DeployedODESolver) -> bool:
        """Whether the kernel has all that this solver does: Euler's steps, no resize but the bilinear one, no gain."""
        return cpu.never_serves(deployed) is None and cpu.resizes(deployed)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """As :meth:`DeployedODESolver.forward`."""
        solver = self.deployed
        constants = (solver.transitions, solver.step_lengths, *solver.norm_for(x), solver.after_scale,
                     solver.after_shift)
        if not is_exporting():
            return cpu_operators.cos_deployed(x, *constants, residual)
        batch, _, height, width = x.shape
        rows = [None if value is None else value.permute(0, 2, 3, 1) for value in (x, residual)]
        y = torch.onnx.ops.symbolic('mobileode::ChannelwiseODESolver', (rows[0], *constants, rows[1]), dtype=x.dtype,
                                    shape=(batch, height, width, solver.out_channels), version=1)
        return y.permute(0, 3, 1, 2)
