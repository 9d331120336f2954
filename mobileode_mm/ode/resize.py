"""Resampling of one axis as a matrix, and the channels as matrices for it."""

import torch
from torch import Tensor


def _nearest(fraction: Tensor) -> dict[int, Tensor]:
    return {0: torch.ones_like(fraction)}


def _bilinear(fraction: Tensor) -> dict[int, Tensor]:
    return {0: 1 - fraction, 1: fraction}


def _bicubic(fraction: Tensor) -> dict[int, Tensor]:
    """Keys' cubic convolution with a = −3/4, as torch has it."""
    a = -0.75

    def near(t):
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t):
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    return {-1: far(1 + fraction), 0: near(fraction), 1: near(1 - fraction), 2: far(2 - fraction)}


#: By mode: weights of the entries around a source coordinate, by their offset from its floor, from its fraction.
RESIZE_MODES = {'bilinear': _bilinear, 'nearest': _nearest, 'bicubic': _bicubic}


def as_matrices(x: Tensor, side: int, matrix: Tensor | None, gain: Tensor | None = None) -> Tensor:
    """The channels of each position as a p×p matrix Y, resized to A @ Y @ A.T; (B, p², H, W) to (B, H, W, q, q).

    Args:
        side: p.
        matrix: A of :func:`resize_matrix`, (q, p); None leaves Y as it is.
        gain: Factors of the q² values of each resized matrix, (q²,); None has none.
    """
    y = x.permute(0, 2, 3, 1).contiguous().unflatten(3, (side, side))
    y = y if matrix is None else matrix @ y @ matrix.T
    return y if gain is None else y * gain.view(y.shape[-2:])


def as_channels(y: Tensor) -> Tensor:
    """The matrices of :func:`as_matrices` as channels again; (B, H, W, q, q) to (B, q², H, W), channels_last."""
    return y.flatten(3).permute(0, 3, 1, 2)


def resize_matrix(size_in: int, size_out: int, mode: str = 'bilinear') -> Tensor:
    """One axis of resampling, ``align_corners=False`` and no antialiasing, as a matrix.

    ``A @ Y @ A.T`` of a p×p matrix Y equals ``F.interpolate(Y, (q, q), mode=mode)``. Where a nearest neighbour falls on
    a border, torch's float32 coordinates may slip to the one before (15 of the 4,096 pairs of sides up to 64, such as
    26 to 22); these are exact.

    Args:
        size_in: p.
        size_out: q.
        mode: Name in :data:`RESIZE_MODES`.

    Returns:
        Tensor: float64, shape (size_out, size_in); each row sums to 1.
    """
    row = torch.arange(size_out)
    # Twice size_out times the source coordinate. torch's nearest neighbour leaves the half pixel out.
    scaled = 2 * row * size_in if mode == 'nearest' else (2 * row + 1) * size_in - size_out
    low = torch.div(scaled, 2 * size_out, rounding_mode='floor')
    fraction = (scaled - low * (2 * size_out)).double() / (2 * size_out)
    matrix = torch.zeros(size_out, size_in, dtype=torch.float64)
    for offset, weight in RESIZE_MODES[mode](fraction).items():
        matrix.index_put_((row, (low + offset).clamp(0, size_in - 1)), weight, accumulate=True)
    return matrix
