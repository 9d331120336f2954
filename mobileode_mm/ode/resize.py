"""Bilinear resampling as a matrix."""

import torch
from torch import Tensor


def bilinear_matrix(size_in: int, size_out: int) -> Tensor:
    """One axis of bilinear resampling, ``align_corners=False`` and no antialiasing, as a matrix.

    ``A @ v`` equals ``F.interpolate(v, size_out, mode='linear')``; for a p×p matrix Y the resized q×q
    matrix is ``A @ Y @ A.T``.

    Returns:
        Tensor: float64, shape (size_out, size_in); each row sums to 1.
    """
    position = ((torch.arange(size_out, dtype=torch.float64) + 0.5) * (size_in / size_out) - 0.5).clamp(min=0)
    low = position.floor().long().clamp(max=size_in - 1)
    high = (low + 1).clamp(max=size_in - 1)
    fraction = position - low
    matrix = torch.zeros(size_out, size_in, dtype=torch.float64)
    row = torch.arange(size_out)
    matrix.index_put_((row, low), 1 - fraction, accumulate=True)
    matrix.index_put_((row, high), fraction, accumulate=True)
    return matrix
