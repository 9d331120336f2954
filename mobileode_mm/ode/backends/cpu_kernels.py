"""What the operators of :mod:`.cpu_operators` do on a CPU: check their arguments, make the outputs, call the kernels.

The functions are named as the operators, and take and return what their schemas say. csrc/interface.cpp has the C
functions of the same names.
"""
import ctypes
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from .build import load_library
from .compiler import LARGEST_SIDE

#: Multiply-adds under which one thread does all: starting others takes longer.
LEAST_WORK_PER_THREAD = 200_000


class Call(ctypes.Structure):
    """The numbers of a call: struct Call of csrc/interface.cpp."""
    _fields_ = [('batch', ctypes.c_int64), ('positions', ctypes.c_int64), ('p', ctypes.c_int32), ('q', ctypes.c_int32),
                ('steps', ctypes.c_int32), ('threads', ctypes.c_int32), ('is_double', ctypes.c_int32),
                ('by_channel', ctypes.c_int32), ('of_batch', ctypes.c_int32), ('eps', ctypes.c_double),
                ('least_step', ctypes.c_double)]


class Checks:
    """The checks of one call. Messages begin with the operator's name and name the argument.

    Args:
        name: The operator.
        x: (B, p², H, W).
    """

    def __init__(self, name: str, x: Tensor):
        self.name = name
        self.x = x
        self.dtype = x.dtype
        if not x.is_cpu:
            self.refuse(f'x is on {x.device}, must be on the CPU')
        if x.dtype not in (torch.float32, torch.float64):
            self.refuse(f'x is {_type(x)}, must be Float or Double')
        if x.dim() != 4:
            self.refuse(f'x is {_sizes(x)}, must be (B, p * p, H, W)')
        self.batch, channels, height, width = x.shape
        self.map = (height, width)
        self.p = math.isqrt(channels)
        if not channels or self.p**2 != channels:
            self.refuse(f'x has {channels} channels, which is no square of a side')

    def refuse(self, what: str) -> None:
        """Raises RuntimeError."""
        raise RuntimeError(f'{self.name}: {what}')

    def type(self, argument: str, tensor: Tensor) -> None:
        """Of x's type, where the kernels are."""
        if tensor.dtype is not self.dtype:
            self.refuse(f'{argument} is {_type(tensor)}, must be {_type(self.x)}, as x')
        if not tensor.is_cpu:
            self.refuse(f'{argument} is on {tensor.device}, must be on the CPU, as x')

    def shape(self, argument: str, tensor: Tensor, sizes: Iterable[int]) -> None:
        """The type too."""
        self.type(argument, tensor)
        if tensor.shape != sizes:
            self.refuse(f'{argument} is {_sizes(tensor)}, must be {list(sizes)}')

    def solver(self, argument: str, matrices: Tensor, step_lengths: Tensor) -> None:
        """(L, q, q) and (L,); sets ``steps``, ``q`` and ``y_sizes``."""
        self.type(argument, matrices)
        if matrices.dim() != 3 or matrices.shape[1] != matrices.shape[2]:
            self.refuse(f'{argument} is {_sizes(matrices)}, must be (L, q, q)')
        self.steps, self.q, _ = matrices.shape
        if not self.steps:
            self.refuse(f'{argument} is {_sizes(matrices)}, must have one step at least')
        if not 0 < self.q <= LARGEST_SIDE:
            self.refuse(f'{argument} is {_sizes(matrices)}, must have sides of 1 to {LARGEST_SIDE}')
        self.y_sizes = (self.batch, self.q**2, *self.map)
        self.shape('step_lengths', step_lengths, (self.steps, ))

    def norm(self, first_name: str, first: Tensor, second_name: str, second: Tensor) -> None:
        """Both values of a norm: (H, W) each where it is of positions, (q²,) where it is of channels."""
        self.type(first_name, first)
        self.by_channel = first.dim() == 1
        if first.shape != ((self.q**2, ) if self.by_channel else self.map):
            self.refuse(f'{first_name} is {_sizes(first)}, must be {list(self.map)} or [{self.q**2}]')
        self.shape(second_name, second, first.shape)

    def run(self, kernel: str, tensors: list[Tensor | None], eps: float = 0, least_step: float = 0,
            of_batch: bool = False) -> None:
        """Call a kernel.

        Args:
            kernel: Its name in the library.
            tensors: In its order, dense.
            eps, least_step, of_batch: As struct Call has them.
        """
        positions = math.prod(self.map)
        worth = self.batch * positions * self.steps * self.q**3 // LEAST_WORK_PER_THREAD
        threads = max(1, min(torch.get_num_threads(), positions, worth))
        call = Call(self.batch, positions, self.p, self.q, self.steps, threads, self.dtype is torch.float64,
                    self.by_channel, of_batch, eps, least_step)
        if call_kernel(load_library(), kernel, call, tensors):
            self.refuse('there is not enough memory')


def call_kernel(library: ctypes.CDLL, kernel: str, call: Call, tensors: list[Tensor | None]) -> int:
    """Call a function of a library of csrc/interface.cpp; nothing is checked.

    Args:
        library: As :func:`~.build.load_library` returns it.
        kernel: The function's name.
        call: Its numbers.
        tensors: In its order, dense, on the CPU, of the type that ``call`` says.

    Returns:
        int: 0, or 1 where there is no memory for it.
    """
    addresses = (ctypes.c_void_p * len(tensors))(*[None if t is None else t.data_ptr() for t in tensors])
    return getattr(library, kernel)(ctypes.byref(call), addresses)


def cos_eval(x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor, mean: Tensor,
             variance: Tensor, eps: float, least_step: float) -> Tensor:
    checks = Checks('cos_eval', x)
    checks.solver('matrices', matrices, step_lengths)
    checks.norm('weight', weight, 'bias', bias)
    checks.shape('mean', mean, weight.shape)
    checks.shape('variance', variance, weight.shape)
    if not least_step >= 0:
        checks.refuse(f'least_step is {least_step:g}, must be 0 or more')
    return _eval(checks, (matrices, step_lengths, weight, bias, mean, variance), eps, least_step)


def cos_deployed(x: Tensor, transitions: Tensor, step_lengths: Tensor, scale: Tensor, shift: Tensor,
                 after_scale: Tensor | None = None, after_shift: Tensor | None = None,
                 residual: Tensor | None = None) -> Tensor:
    checks = Checks('cos_deployed', x)
    checks.solver('transitions', transitions, step_lengths)
    checks.norm('scale', scale, 'shift', shift)
    if (after_scale is None) != (after_shift is None):
        checks.refuse('after_scale and after_shift come together or not at all')
    if after_scale is None or after_shift is None:
        if residual is not None:
            checks.refuse('residual comes with after_scale and after_shift alone')
        after: list[Tensor | None] = [None, None, None]
    else:
        checks.shape('after_scale', after_scale, (checks.q**2, ))
        checks.shape('after_shift', after_shift, (checks.q**2, ))
        if residual is not None:
            checks.shape('residual', residual, checks.y_sizes)
            residual = _rows(residual)
        after = [after_scale.contiguous(), after_shift.contiguous(), residual]
    y = _empty_rows(x, checks.y_sizes)
    checks.run('cos_deployed', [_rows(x), *_dense(transitions, step_lengths, scale, shift), *after, y])
    return y


def cos_train(x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor, eps: float,
              mean: Tensor | None = None, variance: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    checks = Checks('cos_train', x)
    checks.solver('matrices', matrices, step_lengths)
    checks.norm('weight', weight, 'bias', bias)
    if (mean is None) != (variance is None):
        checks.refuse('mean and variance come together or not at all')
    if mean is not None and variance is not None:
        checks.shape('mean', mean, weight.shape)
        checks.shape('variance', variance, weight.shape)
        y = _eval(checks, (matrices, step_lengths, weight, bias, mean, variance), eps, 0)
        return y, *(value.clone(memory_format=torch.contiguous_format) for value in (mean, variance))
    count = checks.batch * (math.prod(checks.map) if checks.by_channel else checks.q**2)
    if count < 2:
        checks.refuse(f"x is {_sizes(x)}, which gives each of the batch's statistics {count} values, must be 2 or more")
    y = _empty_rows(x, checks.y_sizes)
    mean, variance = (weight.new_empty((checks.steps, *weight.shape)) for _ in range(2))
    checks.run('cos_train', [_rows(x), *_dense(matrices, step_lengths, weight, bias), y, mean, variance], eps)
    return y, mean, variance


def cos_train_backward(y_grad: Tensor, x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor,
                       eps: float, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    checks = Checks('cos_train_backward', x)
    checks.solver('matrices', matrices, step_lengths)
    checks.norm('weight', weight, 'bias', bias)
    checks.shape('y_grad', y_grad, checks.y_sizes)
    of_batch = mean.dim() > weight.dim()
    statistics = (checks.steps, *weight.shape) if of_batch else weight.shape
    checks.shape('mean', mean, statistics)
    checks.shape('variance', variance, statistics)
    parameters = _dense(matrices, step_lengths, weight, bias)
    x_grad = _empty_rows(x, x.shape)
    gradients = [torch.empty_like(value) for value in parameters]
    tensors = [_rows(y_grad), _rows(x), *parameters, *_dense(mean, variance), x_grad, *gradients]
    checks.run('cos_train_backward', tensors, eps, of_batch=of_batch)
    return x_grad, *gradients


def _eval(checks: Checks, tensors: Iterable[Tensor], eps: float, least_step: float) -> Tensor:
    """The solver by a norm of fixed statistics, of arguments that are checked."""
    y = _empty_rows(checks.x, checks.y_sizes)
    checks.run('cos_eval', [_rows(checks.x), *_dense(*tensors), y], eps, least_step)
    return y


def _rows(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _dense(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _empty_rows(x: Tensor, sizes: Iterable[int]) -> Tensor:
    return torch.empty(sizes, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _type(tensor: Tensor) -> str:
    return tensor.type().rpartition('.')[2].removesuffix('Tensor')


def _sizes(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
