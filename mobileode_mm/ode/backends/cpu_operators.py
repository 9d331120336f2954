"""The channelwise ODE solver on CPUs, by C++ that is compiled on first use; the reference is naive.py.

All steps of a position run while its channels are in the innermost cache, so that inference reads and writes each
map once. Training saves its input alone: the backward pass recomputes a position's trajectory over the batch, and
what is kept between the passes does not grow with the number of steps. The channel norm, whose statistics are over all
positions, takes a pass over the map for each step; its backward pass holds the map's states while it runs.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor

from ..flops import teach_flop_counter

TORCH = Path(torch.__file__).parent
#: q: of the paper's networks, those with 576 channels expanded 9 times have the largest.
LARGEST_SIDE = 72
FLAGS = ('-std=c++17', '-O3', '-march=native', '-fopenmp', '-fPIC', f'-DLARGEST_SIDE={LARGEST_SIDE}')
#: Each file with the flags that it takes beside those of all.
SOURCES = {
    Path(__file__).with_name('csrc') / 'cos_native.cpp': (),
    Path(__file__).with_name('csrc') / 'cos_operator.cpp': (
        f'-I{TORCH / "include"}', f'-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}'),
}
LINKED = (f'-L{TORCH / "lib"}', '-ltorch_cpu', '-lc10')
#: Bytes of the largest piece from which glibc learns, of which it takes some itself.
LARGE_PIECE = (32 << 20) - 8192


class NativeUnavailable(RuntimeError):
    """The C++ file cannot be compiled or loaded here; the message says why and what to do."""


def cache_folder() -> Path:
    """Where the compiled file is kept: below ``TORCH_EXTENSIONS_DIR``, or the user's cache."""
    root = os.environ.get('TORCH_EXTENSIONS_DIR') or Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser()
    return Path(root) / 'mobileode_mm'


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled files, which are made if this machine has not got them yet (half a minute, once).

    With them torch has the operator that :data:`cos_infer` calls.

    Raises:
        NativeUnavailable: No C++ compiler, or it fails.
    """
    names = [os.environ['CXX']] if os.environ.get('CXX') else ['c++', 'g++', 'clang++']
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise NativeUnavailable(f'no C++ compiler ({", ".join(names)}) is installed; install one, such as g++')
    version = subprocess.run([compiler, '--version'], capture_output=True, check=False).stdout
    # -march=native: a home folder may be shared by machines of different processors.
    parts = [*(source.read_bytes() for source in SOURCES), version, ' '.join(FLAGS).encode(), _processor(),
             f'{torch.__version__} {torch.compiled_with_cxx11_abi()}'.encode()]
    path = cache_folder() / f'cos_native_{hashlib.sha256(b"".join(parts)).hexdigest()[:16]}.so'
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                _compile(compiler, Path(folder) / path.name)
                os.replace(Path(folder) / path.name, path)
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeUnavailable(f'{path} cannot be made or loaded: {error}') from error
    # glibc gives freed memory back to the system beyond twice the largest piece so far, 64 MB at most, and gets it
    # again page by page, filled with zeros: without a large piece that is a fifth to a third of the time of a network
    # at 320 px. This one is never touched.
    torch.empty(LARGE_PIECE, dtype=torch.uint8)
    return loaded


def _compile(compiler: str, made: Path) -> None:
    """All files at once, then one library of them."""
    objects = {source: str(made.with_name(f'{source.name}.o')) for source in SOURCES}
    running = {
        source: subprocess.Popen([compiler, *FLAGS, *flags, '-c', str(source), '-o', objects[source]],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for source, flags in SOURCES.items()}
    faults = {source: process.communicate()[1].strip() for source, process in running.items()}
    for source, process in running.items():
        if process.returncode:
            raise NativeUnavailable(f'{compiler} cannot compile {source.name}: {faults[source][:500]}')
    done = subprocess.run([compiler, *FLAGS, '-shared', *objects.values(), *LINKED, '-o', str(made)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise NativeUnavailable(f'{compiler} cannot link {made.name}: {done.stderr.strip()[:500]}')


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether the compiled file is here or can be made; one warning where it cannot."""
    return _is_available()


@functools.cache
def _is_available() -> bool:
    try:
        library()
    except NativeUnavailable as error:
        warnings.warn(f'MobileODE: solvers run uncompiled on this CPU: {error}', stacklevel=2)
        return False
    return True


def _processor() -> bytes:
    try:
        return b'\n'.join(sorted({line for line in Path('/proc/cpuinfo').read_bytes().splitlines()
                                  if line.startswith((b'flags', b'Features', b'model name'))}))
    except OSError:
        return platform.processor().encode()


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) in channels_last memory."""
    return x.contiguous(memory_format=torch.channels_last)


def _empty(x: Tensor, channels: int) -> Tensor:
    batch, _, height, width = x.shape
    return x.new_empty_strided((batch, channels, height, width),
                               (height * width * channels, 1, width * channels, channels))


_SOLVER = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int, ctypes.c_int, ctypes.c_void_p,
           ctypes.c_void_p, ctypes.c_int)
_FUNCTIONS = dict(
    cos_forward=(*_SOLVER, ctypes.c_int, *[ctypes.c_void_p] * 2, ctypes.c_double, *[ctypes.c_void_p] * 3,
                 ctypes.c_int),
    cos_backward=(ctypes.c_void_p, *_SOLVER, ctypes.c_int, *[ctypes.c_void_p] * 2, ctypes.c_double, ctypes.c_int,
                  *[ctypes.c_void_p] * 7, ctypes.c_int))


@functools.cache
def _function(name: str, dtype: torch.dtype) -> Callable:
    function = getattr(library(), f'{name}_{str(dtype).removeprefix("torch.")}')
    function.argtypes, function.restype = _FUNCTIONS[name], None
    return function


def _call(name: str, x: Tensor, matrices: Tensor, step_lengths: Tensor, *more, before: Sequence = ()) -> None:
    """Call a function of cos_native.cpp, whose arguments are ``before``, the solver's, ``more``, and the threads.

    Tensors are dense; those among ``before`` and ``more`` are given by their addresses.
    """
    batch, channels, height, width = x.shape
    steps, side, _ = matrices.shape
    _function(name, x.dtype)(*before, x.data_ptr(), batch, height * width, isqrt(channels), side, matrices.data_ptr(),
                             step_lengths.data_ptr(), steps, *more, torch.get_num_threads())


def _dense(*tensors: Tensor) -> list[Tensor]:
    return [tensor.contiguous() for tensor in tensors]


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


_LIBRARY = torch.library.Library('mobileode', 'FRAGMENT')
_LIBRARY.define('cos_infer(Tensor x, Tensor matrices, Tensor step_lengths, Tensor weight, Tensor bias, Tensor? mean, '
                'Tensor? variance, float eps=0.0, float least_step=0.0, bool transitions=False, '
                'Tensor? after_scale=None, Tensor? after_shift=None, Tensor? residual=None) -> Tensor')

#: The solver with a norm of fixed statistics, and what may follow it in a network; no gradients. After :func:`library`.
#:
#: Args:
#:     x: (B, p², H, W), float32 or float64.
#:     matrices: K, (L, q, q); or I + K, where ``transitions``.
#:     step_lengths: (L,).
#:     weight, bias: Of the norm: (H, W) of a position norm, (q²,) of a channel norm.
#:     mean, variance: Of the norm, of the weight's shape; None where weight and bias are its scale and shift.
#:     eps: Of the norm.
#:     least_step: The length of steps that are shorter; 0 or more.
#:     after_scale, after_shift: (q²,); the result is then ReLU6(y · after_scale + after_shift).
#:     residual: (B, q², H, W), added to that.
#:
#: Returns:
#:     Tensor: (B, q², H, W) in channels_last memory.
cos_infer = torch.ops.mobileode.cos_infer.default


@torch.library.register_fake('mobileode::cos_infer')
def _(x, matrices, *_, **__):
    return _empty(x, matrices.shape[1]**2)


@torch.library.custom_op('mobileode::cos_train', mutates_args=(), device_types='cpu')
def cos_train(x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor, eps: float,
              mean: Tensor | None = None, variance: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The solver with its norm, by the batch's own statistics or by fixed ones; differentiable once.

    Args:
        x: (B, p², H, W), float32 or float64.
        matrices: K, (L, q, q).
        step_lengths: (L,), clamped.
        weight, bias: Of the norm: (H, W) of a position norm, (q²,) of a channel norm.
        eps: Of the norm.
        mean, variance: Fixed statistics, of the weight's shape; None takes each step's own.

    Returns:
        y, (B, q², H, W) in channels_last memory, and the mean and biased variance of each step, (L, H, W) or (L, q²)
        each, or the fixed ones; no gradient flows through them.
    """
    x = _rows(x)
    if mean is not None:
        y = cos_infer(x, matrices, step_lengths, weight, bias, mean, variance, eps)
        return y, mean.clone(), variance.clone()
    out = _empty(x, matrices.shape[1]**2)
    mean = x.new_empty(len(matrices), *weight.shape)
    variance = torch.empty_like(mean)
    matrices, step_lengths, weight, bias = _dense(matrices, step_lengths, weight, bias)
    _call('cos_forward', x, matrices, step_lengths, weight.dim() == 1, *_addresses(weight, bias), eps,
          *_addresses(mean, variance, out))
    return out, mean, variance


@cos_train.register_fake
def _(x, matrices, step_lengths, weight, bias, eps, mean=None, variance=None):
    mean = x.new_empty(len(matrices), *weight.shape) if mean is None else torch.empty_like(mean)
    return _empty(x, matrices.shape[1]**2), mean, torch.empty_like(mean)


@torch.library.custom_op('mobileode::cos_backward', mutates_args=(), device_types='cpu')
def cos_backward(grad: Tensor, x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor,
                 eps: float, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`cos_train`'s y for x, matrices, step_lengths, weight and bias, from ``grad`` of y.

    mean and variance have a row for each step, the batch's own, or the weight's shape: fixed ones.
    """
    x, grad = _rows(x), _rows(grad)
    grads = [torch.empty_like(value, memory_format=torch.contiguous_format)
             for value in (matrices, step_lengths, weight, bias)]
    grad_x = torch.empty_like(x)
    matrices, step_lengths, weight, bias, mean, variance = _dense(matrices, step_lengths, weight, bias, mean, variance)
    _call('cos_backward', x, matrices, step_lengths, weight.dim() == 1, *_addresses(weight, bias), eps,
          mean.dim() > weight.dim(), *_addresses(mean, variance, grad_x, *grads), before=_addresses(grad))
    return grad_x, *grads


@cos_backward.register_fake
def _(grad, x, matrices, step_lengths, weight, bias, eps, mean, variance):
    return (_empty(x, x.shape[1]), *(torch.empty_like(value, memory_format=torch.contiguous_format)
                                     for value in (matrices, step_lengths, weight, bias)))


def _save(ctx, inputs, output):
    x, matrices, step_lengths, weight, bias, ctx.eps, _, _ = inputs
    _, mean, variance = output
    ctx.mark_non_differentiable(mean, variance)
    ctx.save_for_backward(x, matrices, step_lengths, weight, bias, mean, variance)


def _backward(ctx, grad, *_):
    x, matrices, step_lengths, weight, bias, mean, variance = ctx.saved_tensors
    return (*cos_backward(grad, x, matrices, step_lengths, weight, bias, ctx.eps, mean, variance), None, None, None)


cos_train.register_autograd(_backward, setup_context=_save)

teach_flop_counter([torch.ops.mobileode.cos_infer, torch.ops.mobileode.cos_train], torch.ops.mobileode.cos_backward)


def cos_deployed(x, transitions, step_lengths, scale, shift, after_scale=None, after_shift=None, residual=None):
    return cos_infer(x, transitions, step_lengths, scale, shift, None, None, 0.0, 0.0, True, after_scale, after_shift,
                     residual)
