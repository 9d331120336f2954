"""What torch's ``FlopCounterMode`` counts of the solvers' kernels."""
from math import isqrt

import torch
from torch.utils.flop_counter import register_flop_formula


def teach_flop_counter(forward: list, backward) -> None:
    """Let ``FlopCounterMode`` count kernels as the matrix products of the operators that they stand for.

    Args:
        forward: Operators of x, (B, p², H, W), the matrices, (L, q, q), and more.
        backward: The operator of their gradients, of the output's gradient, x, the matrices, and more; it takes the
            steps again.
    """
    @register_flop_formula(forward)
    def _(x, matrices, *_, out_shape=None, **__) -> int:
        return _flops(x, matrices, products=1, resizes=1)

    @register_flop_formula(backward)
    def _(grad, x, matrices, *_, out_shape=None, **__) -> int:
        # The steps again, and the gradients of each state and matrix; the input resized again, and its gradient.
        return _flops(x, matrices, products=3, resizes=2)


def _flops(x: torch.Size, matrices: torch.Size, products: int, resizes: int) -> int:
    """Two for each multiply-add of L products and of the resize as two dense ones, as torch counts."""
    batch, channels, height, width = x
    steps, side, _ = matrices
    side_in = isqrt(channels)
    resize = side * side_in * (side + side_in) if side_in != side else 0
    return 2 * batch * height * width * (products * steps * side**3 + resizes * resize)
