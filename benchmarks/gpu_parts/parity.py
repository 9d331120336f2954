"""The Triton kernels against the float64 reference: outputs, statistics and every gradient, over shapes and types."""
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from mobileode_mm.ode import cos_naive
from mobileode_mm.ode.backends import triton_operators

from .part import Case, Plan, table_of

TITLE = 'Parity of the Triton kernels'
NAMES = 'x', 'matrices', 'step_lengths', 'weight', 'bias'
EPS = 1e-5
#: Largest difference of outputs and statistics, relative to the largest number.
ERRORS = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
#: Of gradients the root mean square of the difference over that of the reference: a number on the other side of a
#: ReLU6's kink, one in ten million, has another gradient, and the largest difference is its.
GRADIENT_ERRORS = {torch.float32: 1e-3, torch.float16: 5e-3, torch.bfloat16: 2e-2}


class Shape(NamedTuple):
    """Sizes of a call: images, p, q, height, width, L."""
    batch: int
    side_in: int
    side: int
    height: int
    width: int
    num_steps: int

    def __str__(self) -> str:
        return f'{self.side_in}→{self.side}, {self.batch}×{self.height}×{self.width}, L = {self.num_steps}'


#: p and q of MobileODE V1 and of its hybrid; V2's; odd ones, among them the smallest.
SIDES = [(12, 12), (16, 16), (24, 24), (32, 32), (12, 24), (24, 12), (16, 32), (32, 16), (24, 48), (48, 24), (32, 64),
         (64, 32), (17, 17), (9, 13), (33, 31), (3, 2)]
#: Batch, height, width and L: a batch in one tile, one that is streamed at most sides, many steps on an odd map.
SIZES = [(1, 5, 7, 3), (64, 4, 3, 2), (5, 7, 9, 6)]
#: Layers of the networks as they are: V1's first and a later one, V2's, the hybrid's with its many steps.
LAYERS = [Shape(32, 12, 12, 80, 80, 3), Shape(32, 24, 24, 20, 20, 3), Shape(8, 24, 48, 20, 20, 3),
          Shape(2, 12, 12, 32, 32, 60), Shape(4, 16, 16, 32, 32, 30), Shape(8, 24, 24, 16, 16, 20)]
DRY = [Shape(5, 3, 4, 1, 1, 1)]


def cases(plan: Plan) -> Iterator[Case]:
    """Training and inference of every shape, type and norm."""
    for dtype in list(ERRORS)[:2] if plan.is_dry else ERRORS:
        # The kernels of both half precisions are the same but for the type.
        sides = SIDES[::2] if dtype == torch.bfloat16 else SIDES
        shapes = [Shape(batch, *pair, *size) for batch, *size in SIZES for pair in sides] + LAYERS
        for shape in DRY if plan.is_dry else shapes:
            for kind in triton_operators.KINDS:
                for ours, theirs in ((train, train_reference), (infer, infer_reference)):
                    yield Case(f'{ours.__name__}, {kind} norm, {str(dtype).removeprefix("torch.")}, {shape}',
                               functools.partial(_case, ours, theirs, shape, kind, dtype, plan.device),
                               group=f'{shape.side_in} {shape.side} {dtype}')


def markdown(rows: list[dict]) -> str:
    """The worst of each kind, and what failed."""
    worst: dict[str, dict] = {}
    for row in rows:
        kind = ', '.join(row['case'].split(', ')[:3])
        entry = worst.setdefault(kind, dict(case=kind, error=None, count=0, failed=0, left_out=0))
        entry['count'] += 1
        entry['left_out'] += row.get('left_out', 0)
        entry['failed'] += row['error'] is not None
        for name in ('output', 'gradient'):
            if row.get(name) is not None:
                entry[name] = max(entry.get(name, 0.0), row[name])
    parts = ['Largest differences from float64: of outputs and statistics, relative to the largest number; of '
             'gradients, of the root mean squares. Fresh memory was NaN, and every call was made twice: a case whose '
             'bits are others then has failed.',
             table_of(list(worst.values()), {
                 'cases': 'count', 'failed': 'failed', 'no memory for the reference': 'left_out', 'outputs': 'output',
                 'gradients': 'gradient'})]
    failed = [row for row in rows if row['error'] is not None]
    if failed:
        parts += ['## Failed', table_of(failed, {'outputs': 'output', 'gradients': 'gradient'})]
    return '\n\n'.join(parts)


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """Fresh memory is NaN, so that whatever a kernel forgets to write, or reads unwritten, shows."""
    def poison(make):
        def poisoning(*args, **kwargs):
            tensor = make(*args, **kwargs)
            return tensor.fill_(float('nan')) if tensor.is_floating_point() else tensor
        return poisoning

    with patch.object(torch, 'empty', poison(torch.empty)), \
            patch.object(torch, 'empty_like', poison(torch.empty_like)), \
            patch.object(torch.Tensor, 'new_empty', poison(torch.Tensor.new_empty)):
        yield


def make(shape: tuple, kind: str, dtype: torch.dtype, device: torch.device | str, seed: int = 0) -> list[Tensor]:
    """Arguments of a call, :data:`NAMES`, that ask for gradients."""
    batch, side_in, side, height, width, num_steps = shape
    torch.manual_seed(seed)
    norm_shape = (height, width) if kind == 'position' else (side ** 2,)
    tensors = (torch.randn(batch, side_in ** 2, height, width).to(dtype), torch.randn(num_steps, side, side) * 0.1,
               1 / num_steps + 0.4 * torch.rand(num_steps), 1 + 0.2 * torch.randn(norm_shape),
               0.5 + 0.2 * torch.randn(norm_shape))
    return [tensor.to(device).requires_grad_() for tensor in tensors]


class _Rounded(torch.autograd.Function):
    """A product whose operands, in both directions, are rounded as the kernels round them."""

    @staticmethod
    def forward(ctx, y, matrix, dtype):
        ctx.dtype = dtype
        y, matrix = _rounded(y, dtype), _rounded(matrix, dtype)
        ctx.save_for_backward(y, matrix)
        return y @ matrix

    @staticmethod
    def backward(ctx, grad):
        y, matrix = ctx.saved_tensors
        grad = _rounded(grad, ctx.dtype)
        return grad @ matrix.T, y.flatten(0, -2).T @ grad.flatten(0, -2), None


class _RoundedMatrices:
    """K_1..K_L, whose products from the right are rounded ones: what :func:`cos_naive` asks of them."""

    def __init__(self, matrices, dtype):
        self.matrices, self.dtype, self.shape = matrices, dtype, matrices.shape

    def __iter__(self):
        return (_RoundedMatrices(matrix, self.dtype) for matrix in self.matrices)

    def __rmatmul__(self, y):
        return y @ self.matrices if self.dtype == torch.float32 else _Rounded.apply(y, self.matrices, self.dtype)


def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.bfloat16 and triton_operators.INTERPRETED:  # it cuts off
        return (x.float().view(torch.int32) & -65536).view(torch.float32).to(x.dtype)
    return x.to(dtype).to(x.dtype)


def reference(inputs: list[Tensor], kind: str, dtype: torch.dtype, folded: bool = False) -> tuple[Tensor, ...]:
    """y, means and variances in float64 by the plain reference; ``folded``: weight and bias are the whole norm."""
    x, matrices, step_lengths, weight, bias = inputs
    axes = (0, 3) if kind == 'position' else (0, 1, 2)
    means, variances = [], []

    def norm(z):
        mean, variance = z.mean(axes, keepdim=True), z.var(axes, unbiased=False, keepdim=True)
        means.append(mean.flatten())
        variances.append(variance.flatten())
        gamma, beta = (t[None, ..., None] if kind == 'position' else t for t in (weight, bias))
        if folded:
            return z * gamma + beta
        return (z - mean) / torch.sqrt(variance + EPS) * gamma + beta

    y = cos_naive(x, _RoundedMatrices(matrices, dtype), step_lengths, norm)
    return y, torch.stack(means).detach(), torch.stack(variances).detach()


def error(ours: Tensor, expected: Tensor) -> float:
    """Worst difference relative to the largest number; NaN where ours has one."""
    return ((ours.double() - expected).abs().max() / expected.abs().max()).item()


def difference(ours: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over that of what is expected; NaN where ours has one."""
    return ((ours.double() - expected).norm() / expected.norm()).item()


def train(inputs: list[Tensor], kind: str) -> dict[str, Tensor]:
    """What the kernels give of a training step, by name: y, statistics, gradients."""
    y, means, variances = triton_operators.cos_train(*inputs, EPS, kind)
    return _named(y, means, variances, torch.autograd.grad((y * _probe(y)).sum(), inputs))


def train_reference(inputs: list[Tensor], kind: str) -> dict[str, Tensor]:
    """What :func:`train` has to give, in float64."""
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    y, means, variances = reference(exact, kind, inputs[0].dtype)
    shape = (len(inputs[1]), *inputs[3].shape)
    probe = _probe(y.to(inputs[0].dtype)).double()
    return _named(y, means.view(shape), variances.view(shape), torch.autograd.grad((y * probe).sum(), exact))


@torch.no_grad()
def infer(inputs: list[Tensor], kind: str) -> dict[str, Tensor]:
    """As :func:`train`, of inference: y alone, weight and bias being the folded norm."""
    return {'y': triton_operators.cos_infer(*inputs, kind)}


@torch.no_grad()
def infer_reference(inputs: list[Tensor], kind: str) -> dict[str, Tensor]:
    """What :func:`infer` has to give, in float64."""
    return {'y': reference([tensor.double() for tensor in inputs], kind, inputs[0].dtype, folded=True)[0]}


def _named(y: Tensor, means: Tensor, variances: Tensor, grads: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {'y': y.detach(), 'means': means, 'variances': variances,
            **{f'grad of {name}': grad for name, grad in zip(NAMES, grads)}}


def _probe(y: Tensor) -> Tensor:
    """The gradient that y is given: the same for ours and for the reference."""
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)


def _case(ours: Callable, theirs: Callable, shape: Shape, kind: str, dtype: torch.dtype, device: torch.device) -> dict:
    row: dict = dict(output=None, gradient=None, left_out=0, error=None)
    try:
        with poisoned():
            inputs = make(shape, kind, dtype, device)
            first, second = ours(inputs, kind), ours(inputs, kind)
        expected = theirs(inputs, kind)
    except torch.OutOfMemoryError:  # of a small GPU, which the reference in float64 needs most of
        return {**row, 'left_out': 1}
    faults = []
    for name, value in expected.items():
        if first[name].shape != value.shape:
            faults.append(f'{name} is {tuple(first[name].shape)}, not {tuple(value.shape)}')
            continue
        if not torch.equal(first[name], second[name]):
            faults.append(f'{name} is another in a second call, or not a number')
        if name.startswith('grad'):
            found, limit, column = difference(first[name], value), GRADIENT_ERRORS[dtype], 'gradient'
        else:
            found, limit, column = error(first[name], value), ERRORS[dtype], 'output'
        row[column] = max(row[column] or 0.0, found)
        if not found <= limit:
            faults.append(f'{name} differs by {found:.1e}, more than {limit:.0e}')
    if first['y'].dtype != dtype or not first['y'].is_contiguous(memory_format=torch.channels_last):
        faults.append(f'y is {first["y"].dtype} or not in channels_last memory')
    return {**row, 'error': '; '.join(faults) or None}
