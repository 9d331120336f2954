"""The channelwise ODE solver on CPUs as torch operators of C++ kernels; the reference is naive.py.

All steps of a position run while its channels are in the innermost cache, so that inference reads and writes each
map once. Training saves its input alone: the backward pass recomputes a position's trajectory over the batch, and
what is kept between the passes does not grow with the number of steps. The channel norm, whose statistics are over all
positions, takes a pass over the map for each step; its backward pass holds the map's states while it runs.

Here stand the operators' schemas, what they return for fake tensors, their gradients and what the FLOP counter counts
of them. :mod:`.cpu_kernels` checks the arguments and calls the kernels, :mod:`.build` finds or compiles them; the
formulas are in docs/kernels.md.

Every tensor is float32 or float64, as x is, and on the CPU; any strides are served. A map is returned in channels_last
memory. A norm's values are (H, W) where it is a position norm, (q²,) where it is a channel norm.

Raises:
    RuntimeError: By an operator: an argument does not fit, the message names it; or there are no kernels here.
"""

import torch
from torch import Tensor

from ..flops import teach_flop_counter
from . import cpu_kernels
from .build import is_available
from .compiler import LARGEST_SIDE

__all__ = ['LARGEST_SIDE', 'cos_deployed', 'cos_eval', 'cos_train', 'cos_train_backward', 'is_available']

_LIBRARY = torch.library.Library('mobileode', 'FRAGMENT')
for _schema in (
    'cos_eval(Tensor x, Tensor matrices, Tensor step_lengths, Tensor weight, Tensor bias, Tensor mean, '
    'Tensor variance, float eps, float least_step) -> Tensor',
    'cos_deployed(Tensor x, Tensor transitions, Tensor step_lengths, Tensor scale, Tensor shift, '
    'Tensor? after_scale=None, Tensor? after_shift=None, Tensor? residual=None) -> Tensor',
    'cos_train(Tensor x, Tensor matrices, Tensor step_lengths, Tensor weight, Tensor bias, float eps, '
    'Tensor? mean=None, Tensor? variance=None) -> (Tensor, Tensor, Tensor)',
    'cos_train_backward(Tensor y_grad, Tensor x, Tensor matrices, Tensor step_lengths, Tensor weight, Tensor bias, '
    'float eps, Tensor mean, Tensor variance) -> (Tensor, Tensor, Tensor, Tensor, Tensor)',
):
    _LIBRARY.define(_schema, tags=torch.Tag.pt2_compliant_tag)
    _name = _schema.partition('(')[0]
    _LIBRARY.impl(_name, getattr(cpu_kernels, _name), 'CPU')

#: The solver as a trained layer has it, with a norm of fixed statistics; no gradients.
#:
#: Args:
#:     x: (B, p², H, W).
#:     matrices: K, (L, q, q), q up to LARGEST_SIDE.
#:     step_lengths: (L,).
#:     weight, bias, mean, variance: Of the norm.
#:     eps: Of the norm.
#:     least_step: The length of steps that are shorter; 0 or more.
#:
#: Returns:
#:     Tensor: (B, q², H, W).
cos_eval = torch.ops.mobileode.cos_eval.default

#: The solver in its deploy form, and what may follow it in a network; no gradients.
#:
#: Args:
#:     x: (B, p², H, W).
#:     transitions: I + K, (L, q, q), q up to LARGEST_SIDE.
#:     step_lengths: (L,), clamped.
#:     scale, shift: Of the norm, folded.
#:     after_scale, after_shift: (q²,); the result is then ReLU6(y · after_scale + after_shift). Both or none.
#:     residual: (B, q², H, W), added to that.
#:
#: Returns:
#:     Tensor: (B, q², H, W).
cos_deployed = torch.ops.mobileode.cos_deployed.default

#: The solver with its norm, by the batch's own statistics or by fixed ones; differentiable once.
#:
#: Args:
#:     x: (B, p², H, W).
#:     matrices: K, (L, q, q), q up to LARGEST_SIDE.
#:     step_lengths: (L,), clamped.
#:     weight, bias: Of the norm.
#:     eps: Of the norm.
#:     mean, variance: Fixed statistics; None takes each step's own, of two values or more. Both or none.
#:
#: Returns:
#:     tuple: y, (B, q², H, W), and the mean and biased variance of each step, (L, H, W) or (L, q²) each, or copies of
#:     the fixed ones; no gradient flows through them.
cos_train = torch.ops.mobileode.cos_train.default

#: Gradients of :data:`cos_train`'s y for x, matrices, step_lengths, weight and bias, from ``y_grad``.
#:
#: mean and variance are those that it returned: with a row for each step the batch's own, else fixed ones.
cos_train_backward = torch.ops.mobileode.cos_train_backward.default


def _check_devices(x: Tensor, *others: Tensor | float | None) -> None:
    """The kernels check what is on CPUs alone: a call with a tensor of another device does not reach them."""
    for other in others:
        if isinstance(other, Tensor) and other.device != x.device:
            raise RuntimeError(f'a tensor is on {other.device}, must be on {x.device}, as x')


def _empty(x: Tensor, channels: int) -> Tensor:
    batch, _, height, width = x.shape
    return x.new_empty_strided((batch, channels, height, width),
                               (height * width * channels, 1, width * channels, channels))


@torch.library.register_fake('mobileode::cos_eval')
@torch.library.register_fake('mobileode::cos_deployed')
def _(x, matrices, *others):
    _check_devices(x, matrices, *others)
    return _empty(x, matrices.shape[1]**2)


@torch.library.register_fake('mobileode::cos_train')
def _(x, matrices, step_lengths, weight, bias, eps, mean=None, variance=None):
    _check_devices(x, matrices, step_lengths, weight, bias, mean, variance)
    shape = (len(matrices), *weight.shape) if mean is None else mean.shape
    return _empty(x, matrices.shape[1]**2), x.new_empty(shape), x.new_empty(shape)


@torch.library.register_fake('mobileode::cos_train_backward')
def _(y_grad, x, *others):
    _check_devices(x, y_grad, *others)
    return _empty(x, x.shape[1]), *(torch.empty_like(value, memory_format=torch.contiguous_format)
                                    for value in others[:4])


def _save(ctx, inputs, output):
    x, matrices, step_lengths, weight, bias, ctx.eps, _, _ = inputs
    _, mean, variance = output
    ctx.mark_non_differentiable(mean, variance)
    ctx.save_for_backward(x, matrices, step_lengths, weight, bias, mean, variance)


def _backward(ctx, y_grad, *_):
    *tensors, mean, variance = ctx.saved_tensors
    return *cos_train_backward(y_grad, *tensors, ctx.eps, mean, variance), None, None, None


def _refuse(ctx, *_):
    raise RuntimeError('mobileode::cos_train can be differentiated once; the backend "reference" can be twice')


torch.library.register_autograd('mobileode::cos_train', _backward, setup_context=_save)
torch.library.register_autograd('mobileode::cos_train_backward', _refuse)
_OPS = torch.ops.mobileode
teach_flop_counter([_OPS.cos_eval, _OPS.cos_deployed, _OPS.cos_train], _OPS.cos_train_backward)
