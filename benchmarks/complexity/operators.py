"""What each of torch's operators costs, and a counter of those that are called."""
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Cost:
    """What an operator, or many, costs.

    Attributes:
        macs: Multiply-adds of convolutions and matrix products. Those with zeros of the padding count.
        flops: Floating-point operations: 2 for a multiply-add, and those of everything else.
        activations: Values that convolutions and matrix products put out.
    """
    macs: int = 0
    flops: int = 0
    activations: int = 0

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(self.macs + other.macs, self.flops + other.flops, self.activations + other.activations)


def matrix_cost(macs: int, outputs: int, bias: bool = False) -> Cost:
    """A convolution or matrix product of ``macs`` multiply-adds and ``outputs`` values."""
    return Cost(macs, 2 * macs + bias * outputs, outputs)


#: Floating-point operations for each value put out. A clamp compares with each of its bounds; exp, log, sqrt, tanh and
#: the like count as one; sigmoid is exp, add, divide; a norm in eval mode is one scale and one shift.
ELEMENTWISE = dict(
    add=1, sub=1, rsub=1, mul=1, div=1, neg=1, abs=1, reciprocal=1, square=1, exp=1, log=1, log2=1, sqrt=1, rsqrt=1,
    pow=1, sin=1, cos=1, tanh=1, erf=1, floor=1, ceil=1, round=1, floor_divide=1, remainder=1, maximum=1, minimum=1,
    relu=1, clamp_min=1, clamp_max=1, clamp=2, hardtanh=2, leaky_relu=2, threshold=1, prelu=2, _prelu_kernel=2,
    addcmul=3, addcdiv=3, lerp=3, sigmoid=3, silu=4, hardsigmoid=4, hardswish=5, elu=3, softplus=3,
    log_sigmoid_forward=3, mish=5, gelu=5)
NORM = dict(native_batch_norm=2, _native_batch_norm_legit=2, _native_batch_norm_legit_no_training=2,
            cudnn_batch_norm=2, _batch_norm_no_update=2, native_layer_norm=7, native_group_norm=7, _softmax=5,
            _log_softmax=6)
#: Bilinear: 4 products and 3 sums; bicubic: 16 and 15.
RESIZE = dict(upsample_nearest2d=0, _upsample_nearest_exact2d=0, upsample_bilinear2d=7, _upsample_bilinear2d_aa=7,
              upsample_bicubic2d=31)
#: Floating-point operations for each value read.
REDUCTION = dict(mean=1, sum=1, amax=1, amin=1, max=1, min=1, prod=1, cumsum=1, linalg_vector_norm=2, norm=2, var=3,
                 std=3, var_mean=4, _adaptive_avg_pool2d=1, adaptive_max_pool2d=1)
#: Operators that move, make, choose or compare values and compute none.
NO_ARITHMETIC = frozenset('''
    _local_scalar_dense _reshape_alias _shape_as_tensor _to_copy _unsafe_index _unsafe_view alias all any arange
    argmax argmin argsort as_strided bernoulli bitwise_and bitwise_not bitwise_or broadcast_to cat channel_shuffle
    chunk clone col2im constant_pad_nd contiguous copy detach diagonal embedding empty empty_like empty_strided eq
    expand eye fill flip full full_like gather ge gt im2col index index_put index_select is_same_size isfinite isnan
    le lift_fresh linspace logical_and logical_not logical_or lt masked_fill masked_select narrow
    native_channel_shuffle ne new_empty new_empty_strided new_full new_ones new_zeros nonzero ones ones_like permute
    pixel_shuffle pixel_unshuffle reflection_pad2d repeat replication_pad2d resize roll scalar_tensor scatter select
    set_ slice slice_scatter sort split split_with_sizes squeeze stack t topk transpose tril triu unbind unfold
    unsafe_split unsqueeze view where zero zeros zeros_like
'''.split())


def operator_cost(name: str, args: Sequence, out) -> tuple[str, Cost] | None:
    """Kind and cost of one call of an operator.

    Args:
        name: With its namespace and without its overload, such as ``aten::add_``.
        args: Its positional arguments.
        out: What it gave.

    Returns:
        None for an operator that is not known here.
    """
    namespace, _, name = name.partition('::')
    name = name.removesuffix('_') if not name.startswith('__') else name.strip('_')
    if namespace == 'prim':  # asks for a tensor's device and the like
        return 'no arithmetic', Cost()
    if namespace != 'aten':
        return None
    if name in ('convolution', '_convolution'):
        return _convolution(args, out)
    if name in _MATRIX_PRODUCTS:
        return 'matrix product', _MATRIX_PRODUCTS[name](args, out)
    result = _first_tensor(out)
    outputs = result.numel() if result is not None and result.is_floating_point() else 0
    for kind, table in (('elementwise', ELEMENTWISE), ('norm', NORM), ('resize', RESIZE)):
        if name in table:
            return kind, Cost(flops=table[name] * outputs)
    if name in REDUCTION:
        # max(a, b) of two tensors is elementwise; as a reduction it reads more than it puts out.
        return 'pooling', Cost(flops=REDUCTION[name] * (args[0].numel() if outputs else 0))
    if name in ('max_pool2d_with_indices', 'avg_pool2d'):
        kernel = args[1]
        return 'pooling', Cost(flops=outputs * (prod(kernel) if len(kernel) > 1 else kernel[0] ** 2))
    if name in NO_ARITHMETIC:
        return 'no arithmetic', Cost()
    return None


def _convolution(args: Sequence, out: Tensor) -> tuple[str, Cost]:
    x, weight, bias, _, _, _, transposed, _, groups = args[:9]
    # A transposed convolution spreads each value of its input, an ordinary one gathers each of its output.
    macs = (x if transposed else out).numel() * prod(weight.shape[1:])
    if groups == 1:
        kind = 'pointwise convolution' if prod(weight.shape[2:]) == 1 else 'convolution'
    else:
        kind = 'depthwise convolution' if groups == x.shape[1] else 'grouped convolution'
    return kind, matrix_cost(macs, out.numel(), bias is not None)


def _attention(args: Sequence, out) -> Cost:
    query, key, value = args[:3]
    scores = prod(query.shape[:-1]) * key.shape[-2]
    products = matrix_cost(scores * (query.shape[-1] + value.shape[-1]), scores + out[0].numel())
    return products + Cost(flops=(NORM['_softmax'] + 1) * scores)


# For each, the arguments and the output to a cost. The addends of addmm and baddbmm are biases.
_MATRIX_PRODUCTS = {
    'mm': lambda args, out: matrix_cost(args[0].shape[-1] * out.numel(), out.numel()),
    'bmm': lambda args, out: matrix_cost(args[0].shape[-1] * out.numel(), out.numel()),
    'mv': lambda args, out: matrix_cost(args[0].numel(), out.numel()),
    'dot': lambda args, out: matrix_cost(args[0].numel(), 1),
    'addmm': lambda args, out: matrix_cost(args[1].shape[-1] * out.numel(), out.numel(), True),
    'baddbmm': lambda args, out: matrix_cost(args[1].shape[-1] * out.numel(), out.numel(), True),
    '_scaled_dot_product_flash_attention_for_cpu': _attention,
    '_scaled_dot_product_fused_attention_overrideable': _attention,
}


def _first_tensor(out) -> Tensor | None:
    values = out if isinstance(out, (tuple, list)) else (out, )
    return next((value for value in values if isinstance(value, torch.Tensor)), None)


class OperatorCounter(TorchDispatchMode):
    """Counts every operator that is called, by place and kind.

    Attributes:
        place: Name under which the next operators are counted; the user of the context sets it.
        costs: Cost by (place, kind).
        unknown: How often each operator was called whose cost is not known, by name.
        read: ``id`` of every tensor that an operator was given.
    """

    def __init__(self):
        super().__init__()
        self.place = ''
        self.costs: dict[tuple[str, str], Cost] = defaultdict(Cost)
        self.unknown: Counter[str] = Counter()
        self.read: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.read.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        name = func.name().partition('.')[0]
        cost = operator_cost(name, args, out)
        if cost is None:
            self.unknown[name] += 1
        else:
            self.add(*cost)
        return out

    def add(self, kind: str, cost: Cost) -> None:
        """Count something at the present place."""
        if cost != Cost():
            self.costs[self.place, kind] += cost

    def total(self) -> Cost:
        return sum(self.costs.values(), Cost())
