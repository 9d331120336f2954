"""The Channelwise ODE Solver by Triton kernels: Euler steps, inference and training, on a GPU.

Without a GPU they are tested in Triton's interpreter (environment variable ``TRITON_INTERPRET=1`` before Triton is
imported). Importing this module imports Triton.

Each entry is a torch operator with its own gradient, opaque to ``torch.compile``: no graph break. x and y are stored in
float32, float16 or bfloat16, everything between them is float32; the products with K take operands of the storage
type, as under autocast. Sides are 2 to 64, H×W and batch any. The sides follow from the shapes, and with them the
resize (:func:`~mobileode_mm.ode.resize_matrix`, bilinear), whose two entries a row the kernels compute.

Every sum has one order, fixed by the shapes and the device: the gradients are deterministic always.

Raises:
    ImportError: Triton is not installed.
"""

import functools
from math import isqrt

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError("the COS backend 'triton' needs Triton, which is not installed: pip install triton, "
                      "or use the backend 'reference'") from error

from ..flops import teach_flop_counter
from . import gpus, triton_blocks
from . import triton_kernels as kernels
from .triton_blocks import padded

KINDS = ('position', 'channel')
DTYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}
MAX_SIDE = 64
# Whether the kernels of this process are interpreted: Triton decides when it decorates them.
INTERPRETED = not isinstance(kernels.infer, triton.JITFunction)

# States of the trajectory that the backward keeps, whatever L is. Steps between two of them are recomputed from the
# earlier one, so up to SLOTS steps nothing is computed twice.
SLOTS = 4


def cos_infer(x: Tensor, matrices: Tensor, step_lengths: Tensor, scale: Tensor, shift: Tensor, kind: str) -> Tensor:
    """COS with fixed statistics: all L steps of a tile in one pass, x read once and y written once.

    Args:
        x: (B, p², H, W); copied unless it is in channels_last memory.
        matrices: K_1..K_L, (L, q, q).
        step_lengths: Δt_1..Δt_L, (L,), clamped already.
        scale: The norm's factor, (H, W) where ``kind`` is ``'position'``, (q²,) where it is ``'channel'``.
        shift: The norm's offset, of the same shape.
        kind: ``'position'`` or ``'channel'``.

    Returns:
        Tensor: (B, q², H, W) of x's dtype, in channels_last memory. It has no gradient.

    Raises:
        ValueError: An argument does not fit; the message names it.
    """
    _check(x, matrices, step_lengths, scale, shift, kind)
    return torch.ops.mobileode.triton_cos_infer(x, matrices, step_lengths, scale, shift, kind)


def cos_train(x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor, eps: float,
              kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """COS with the batch's own statistics, differentiable in x, matrices, step_lengths, weight and bias.

    The backward recomputes the trajectory: beside its arguments it saves the statistics alone. While it runs it holds
    float32 states, no more for many steps than for SLOTS steps: with the position norm SLOTS + 1 of each position in
    work (two a multiprocessor, so at most that of the whole map), with the channel norm SLOTS of the map.

    Args:
        x: (B, p², H, W); copied unless it is in channels_last memory.
        matrices: K_1..K_L, (L, q, q).
        step_lengths: Δt_1..Δt_L, (L,), clamped already.
        weight: The norm's weight, (H, W) where ``kind`` is ``'position'``, (q²,) where it is ``'channel'``.
        bias: The norm's bias, of the same shape.
        eps: Added to the variance.
        kind: ``'position'`` or ``'channel'``.

    Returns:
        tuple: y (B, q², H, W) of x's dtype in channels_last memory, and each step's batch mean and biased variance,
        float32, (L, H, W) or (L, q²), which have no gradient.

    Raises:
        ValueError: An argument does not fit; the message names it.
    """
    _check(x, matrices, step_lengths, weight, bias, kind)
    return torch.ops.mobileode.triton_cos_train(x, matrices, step_lengths, weight, bias, eps, kind)


def _check(x: Tensor, matrices: Tensor, step_lengths: Tensor, weight: Tensor, bias: Tensor, kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f'kind={kind!r} is unknown; legal: {", ".join(map(repr, KINDS))}')
    if x.dtype not in DTYPES:
        raise ValueError(f"the COS backend 'triton' stores {', '.join(map(str, DTYPES))}, but x is {x.dtype}")
    if x.device.type == 'cpu' and not INTERPRETED:
        raise ValueError("the COS backend 'triton' needs a GPU, but x is on the CPU: use the backend 'reference'")
    num_steps, side = matrices.shape[0], matrices.shape[-1]
    if max(side, isqrt(x.shape[1])) > MAX_SIDE:
        raise ValueError(f"the COS backend 'triton' serves up to {MAX_SIDE ** 2} channels, but is given {x.shape[1]} "
                         f"in and {side ** 2} out: use the backend 'reference'")
    norm_shape = x.shape[2:] if kind == 'position' else (side ** 2,)
    expected = {'matrices': (matrices, (num_steps, side, side)), 'step_lengths': (step_lengths, (num_steps,)),
                'the norm\'s weight': (weight, norm_shape), 'the norm\'s bias': (bias, norm_shape)}
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f'{name} is {tuple(tensor.shape)}, must be {tuple(shape)}')


@functools.cache
def _multiprocessors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def _channels_last(x: Tensor) -> Tensor:
    """(B, H, W, C), dense."""
    return x.permute(0, 2, 3, 1).contiguous()


def _floats(*tensors: Tensor) -> list[Tensor]:
    return [tensor.float().contiguous() for tensor in tensors]


def _types(x: Tensor) -> dict:
    """What the operands of a product with K are rounded to, and the type they are multiplied in."""
    storage = DTYPES[x.dtype]
    # The interpreter multiplies the bits of bfloat16 as integers. Rounded operands in float32 give the same product.
    return {'ROUND': storage, 'DOT': tl.float32 if INTERPRETED and storage is tl.bfloat16 else storage}


def _blocks(kernel: str, x: Tensor, side_in: int, side: int, rows: int = 0) -> dict:
    return triton_blocks.chosen(kernel, x.dtype, side_in, side, rows, gpus.architecture(x.device.index))


def _walking(kernel: str, x: Tensor, side_in: int, side: int, positions: int) -> tuple[int, dict]:
    """Of a kernel that walks over positions how many programs there are, and its blocks."""
    blocks = _blocks(kernel, x, side_in, side)
    for_each = blocks.pop('programs')
    # Few in the interpreter, so that a program has several positions to walk over.
    return min(positions, for_each * _multiprocessors(x.device.index) if x.is_cuda else 3), blocks


@torch.library.custom_op('mobileode::triton_cos_infer', mutates_args=(),
                         schema='(Tensor x, Tensor matrices, Tensor step_lengths, Tensor scale, Tensor shift, '
                                'str kind) -> Tensor')
def _infer(x, matrices, step_lengths, scale, shift, kind):
    dense = _channels_last(x)
    batch, height, width, channels = dense.shape
    side_in, side = isqrt(channels), matrices.shape[-1]
    y = dense.new_empty(batch, height, width, side ** 2)
    blocks = _blocks('infer', x, side_in, side)
    rows = batch * height * width * side
    with torch.cuda.device_of(x):
        kernels.infer[(triton.cdiv(rows, blocks['BLOCK']),)](
            dense, y, *_floats(matrices, step_lengths, scale, shift), height * width, rows, len(step_lengths),
            P=side_in, Q=side, QB=padded(side), BY_POSITION=kind == 'position', **_types(x), **blocks)
    return y.permute(0, 3, 1, 2)


@_infer.register_fake
def _(x, matrices, step_lengths, scale, shift, kind):
    return _empty_output(x, matrices)


def _empty_output(x: Tensor, matrices: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], *x.shape[2:], matrices.shape[-1] ** 2).permute(0, 3, 1, 2)


@torch.library.custom_op('mobileode::triton_cos_train', mutates_args=(),
                         schema='(Tensor x, Tensor matrices, Tensor step_lengths, Tensor weight, Tensor bias, '
                                'float eps, str kind) -> (Tensor, Tensor, Tensor)')
def _train(x, matrices, step_lengths, weight, bias, eps, kind):
    dense = _channels_last(x)
    y = dense.new_empty(*dense.shape[:3], matrices.shape[-1] ** 2)
    means = dense.new_empty((len(matrices), *weight.shape), dtype=torch.float32)
    variances = torch.empty_like(means)
    forward = _forward_position if kind == 'position' else _forward_channel
    with torch.cuda.device_of(x):
        forward(dense, y, *_floats(matrices, step_lengths, weight, bias), means, variances, eps)
    return y.permute(0, 3, 1, 2), means, variances


@_train.register_fake
def _(x, matrices, step_lengths, weight, bias, eps, kind):
    means = x.new_empty((matrices.shape[0], *weight.shape), dtype=torch.float32)
    return _empty_output(x, matrices), means, torch.empty_like(means)


@torch.library.custom_op('mobileode::triton_cos_train_backward', mutates_args=(),
                         schema='(Tensor y_grad, Tensor x, Tensor matrices, Tensor step_lengths, Tensor weight, '
                                'Tensor bias, Tensor means, Tensor variances, float eps, str kind) '
                                '-> (Tensor, Tensor, Tensor, Tensor, Tensor)')
def _train_backward(y_grad, x, matrices, step_lengths, weight, bias, means, variances, eps, kind):
    dense, y_grad = _channels_last(x), _channels_last(y_grad)
    x_grad = torch.empty_like(dense)
    parameters = matrices, step_lengths, weight, bias
    backward = _backward_position if kind == 'position' else _backward_channel
    with torch.cuda.device_of(x):
        grads = backward(dense, y_grad, x_grad, *_floats(*parameters), means, variances, eps)
    return x_grad.permute(0, 3, 1, 2), *(grad.to(like.dtype) for grad, like in zip(grads, parameters))


@_train_backward.register_fake
def _(y_grad, x, matrices, step_lengths, weight, bias, means, variances, eps, kind):
    x_grad = x.new_empty(x.shape[0], *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    return x_grad, *(torch.empty_like(tensor, memory_format=torch.contiguous_format)
                     for tensor in (matrices, step_lengths, weight, bias))


def _save(ctx, inputs, output):
    *tensors, ctx.eps, ctx.kind = inputs
    _, means, variances = output
    ctx.mark_non_differentiable(means, variances)
    ctx.save_for_backward(*tensors, means, variances)


def _gradient(ctx, y_grad, *_):
    return *torch.ops.mobileode.triton_cos_train_backward(y_grad, *ctx.saved_tensors, ctx.eps, ctx.kind), None, None


torch.library.register_autograd('mobileode::triton_cos_train', _gradient, setup_context=_save)
teach_flop_counter([torch.ops.mobileode.triton_cos_infer, torch.ops.mobileode.triton_cos_train],
                   torch.ops.mobileode.triton_cos_train_backward)


def _forward_position(x, y, matrices, step_lengths, weight, bias, means, variances, eps):
    batch, height, width, channels = x.shape
    num_steps, side, _ = matrices.shape
    side_in, area = isqrt(channels), height * width
    shapes = dict(P=side_in, Q=side, QB=padded(side), **_types(x))
    tensors = x, y, matrices, step_lengths, weight, bias, means, variances
    numbers = batch, area, num_steps, float(batch * side ** 2), eps
    rows = triton_blocks.resident_rows(batch, side)
    if rows:
        kernels.position_forward_resident[(area,)](*tensors, *numbers, **shapes, **_blocks(
            'position_forward_resident', x, side_in, side, rows))
        return
    programs, blocks = _walking('position_forward_streamed', x, side_in, side, area)
    states = x.new_empty((programs, batch * side ** 2), dtype=torch.float32)
    kernels.position_forward_streamed[(programs,)](*tensors, states, *numbers, **shapes, **blocks)


def _backward_position(x, y_grad, x_grad, matrices, step_lengths, weight, bias, means, variances, eps):
    batch, height, width, channels = x.shape
    num_steps, side, _ = matrices.shape
    side_in, area = isqrt(channels), height * width
    programs, blocks = _walking('position_backward', x, side_in, side, area)
    spacing = triton.cdiv(num_steps, SLOTS)
    slots = triton.cdiv(num_steps, spacing)
    states = x.new_empty((programs, slots, batch * side ** 2), dtype=torch.float32)
    state_grads = x.new_empty((programs, batch * side ** 2), dtype=torch.float32)
    matrix_parts = x.new_zeros((programs, *matrices.shape), dtype=torch.float32)
    step_length_parts = x.new_zeros((programs, num_steps), dtype=torch.float32)
    weight_grad, bias_grad = torch.empty_like(weight), torch.empty_like(bias)
    kernels.position_backward[(programs,)](
        x, y_grad, x_grad, matrices, step_lengths, weight, bias, means, variances, weight_grad, bias_grad, matrix_parts,
        step_length_parts, states, state_grads, batch, area, num_steps, spacing, slots, float(batch * side ** 2), eps,
        P=side_in, PB=padded(side_in), Q=side, QB=padded(side), **_types(x), **blocks)
    return matrix_parts.sum(0), step_length_parts.sum(0), weight_grad, bias_grad


def _forward_channel(x, y, matrices, step_lengths, weight, bias, means, variances, eps):
    total, side_in = x.shape[:3].numel(), isqrt(x.shape[3])
    num_steps, side, _ = matrices.shape
    programs, blocks = _walking('channel_forward', x, side_in, side, total)
    # Positions that each program sees.
    counts = ((total - 1 - torch.arange(programs, device=x.device)) // programs + 1)[:, None].float()
    states = x.new_empty((total, side ** 2), dtype=torch.float32)
    mean_parts, square_parts = x.new_empty((2, programs, side ** 2), dtype=torch.float32)
    for step in range(num_steps + 1):
        kernels.channel_forward[(programs,)](
            x, y, matrices, step_lengths, weight, bias, means, variances, states, mean_parts, square_parts, total, step,
            eps, P=side_in, Q=side, QB=padded(side), FIRST=step == 0, FROM_X=step <= 1, LAST=step == num_steps,
            **_types(x), **blocks)
        if step < num_steps:
            means[step] = (mean_parts * counts).sum(0) / total
            variances[step] = (square_parts + (mean_parts - means[step]).square() * counts).sum(0) / total


def _backward_channel(x, y_grad, x_grad, matrices, step_lengths, weight, bias, means, variances, eps):
    total, side_in = x.shape[:3].numel(), isqrt(x.shape[3])
    num_steps, side, _ = matrices.shape
    programs, blocks = _walking('channel_backward', x, side_in, side, total)
    spacing = triton.cdiv(num_steps, SLOTS)
    slots = triton.cdiv(num_steps, spacing) - 1  # the state before the first step is x's
    states = x.new_empty((slots, total, side ** 2), dtype=torch.float32)
    state_grads = x.new_empty((total, side ** 2), dtype=torch.float32)
    first_parts, second_parts = x.new_empty((2, programs, side ** 2), dtype=torch.float32)
    step_length_parts = x.new_empty(programs, dtype=torch.float32)
    sums = x.new_empty((2, side ** 2), dtype=torch.float32)
    matrix_grads, step_length_grads = torch.empty_like(matrices), torch.empty_like(step_lengths)
    weight_grad, bias_grad = torch.zeros_like(weight), torch.zeros_like(bias)
    constants = dict(P=side_in, Q=side, QB=padded(side), **_types(x))
    parameters = matrices, step_lengths, weight, bias, means, variances
    if slots:
        walking, replay = _walking('channel_states', x, side_in, side, total)
        kernels.channel_states[(walking,)](
            x, *parameters, states, total, num_steps, spacing, eps, **constants, **replay)
    for step in reversed(range(num_steps)):
        for apply in (False, True):
            kernels.channel_backward[(programs,)](
                x, y_grad, x_grad, *parameters, states, state_grads, sums, first_parts, second_parts, step_length_parts,
                total, step, spacing, num_steps, float(total), eps, PB=padded(side_in), APPLY=apply, **constants,
                **blocks)
            if not apply:
                sums[0], sums[1] = first_parts.sum(0), second_parts.sum(0)
                step_length_grads[step] = step_length_parts.sum()
        bias_grad += sums[0]
        weight_grad += sums[1]
        matrix_grads[step] = first_parts.sum(0).view(side, side)
    return matrix_grads, step_length_grads, weight_grad, bias_grad
