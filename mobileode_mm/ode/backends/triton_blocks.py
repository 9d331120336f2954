"""How large the tiles of the Triton kernels are, by how many warps they are computed, and how many programs there are.

Nothing here imports Triton.

Registers decide. A kernel of one pass holds up to four tiles at once (state, start, product, target): 32 numbers of
each in a thread are half of its 255 registers. ``TILE`` is that for 4 warps, ``RESIDENT_TILE`` for 8, where the
position's batch lives in registers. The streamed kernels and the backward hold more, and a product in float32 runs on
the FMA units with rows of both operands in registers: 8 numbers a thread there, 16 where the products are half
precision. What the kernels take of each architecture's registers and shared memory, and what they spill, stands in
docs/gpu.md.

What ``mobileode gpu`` has found to be faster on an architecture, in ``gpus.json``, comes before these rules.
"""

import torch

from . import gpus

TILE = 4096
RESIDENT_TILE = 8192
#: Kernels that walk over rows in tiles of a size that can be chosen; of the others the number of warps alone can be.
TILED = ('infer', 'position_forward_streamed', 'position_backward')
BY_CHANNEL = ('channel_forward', 'channel_states', 'channel_backward')
#: Kernels whose choice can be tuned, on every architecture.
TUNED = (*TILED, *BY_CHANNEL)
#: Programs for each multiprocessor of the kernels that walk over positions: enough to hide the latency of loads, few
#: enough that what each keeps in global memory stays small.
PROGRAMS = {'position_forward_streamed': 2, 'position_backward': 2, **dict.fromkeys(BY_CHANNEL, 8)}
#: By kernel: a choice on trial, which comes before all others.
TRIED: dict[str, dict[str, int]] = {}


def padded(side: int) -> int:
    """Columns of a tile: the next power of two, 16 at least, which is the least side of ``tl.dot``."""
    return max(16, 1 << (side - 1).bit_length())


def key(dtype: torch.dtype, side_in: int, side: int) -> str:
    """Key of a tuned choice: ``'half 16x32'``, type (one for both half precisions) and padded sides."""
    return f'{"half" if dtype.itemsize == 2 else "float32"} {padded(side_in)}x{padded(side)}'


def resident_rows(batch: int, side: int) -> int:
    """Rows of a tile that holds a position's whole batch; 0 where that is too large for registers."""
    rows = max(16, 1 << (batch * side - 1).bit_length())
    return rows if rows * padded(side) <= RESIDENT_TILE else 0


def chosen(kernel: str, dtype: torch.dtype, side_in: int, side: int, rows: int = 0,
           architecture: str = '') -> dict[str, int]:
    """What a kernel is launched with: ``num_warps``, and where it has them ``BLOCK``, ``num_stages`` and ``programs``.

    The last is no argument of the kernel: how many programs walk over the positions, for each multiprocessor.

    Args:
        kernel: Name in ``triton_kernels.py``.
        dtype: What x is stored in.
        side_in, side: p and q.
        rows: Of the tile, where the batch gives it: ``position_forward_resident``.
        architecture: As in :func:`gpus.architecture`.
    """
    tuned = TRIED.get(kernel) or gpus.blocks(architecture).get(kernel, {}).get(key(dtype, side_in, side), {})
    programs = {'programs': PROGRAMS[kernel]} if kernel in PROGRAMS else {}
    return {**_by_rule(kernel, dtype, side_in, side, rows), **programs, **tuned}


def _by_rule(kernel: str, dtype: torch.dtype, side_in: int, side: int, rows: int) -> dict[str, int]:
    if kernel == 'infer':
        return {'BLOCK': TILE // padded(side), 'num_warps': 4}
    if kernel == 'position_forward_resident':
        return {'BLOCK': rows, 'num_warps': 8 if rows * padded(side) > TILE else 4}
    # One stage: loads must not be moved ahead of the stores of the pass before.
    if kernel in BY_CHANNEL:
        return {'num_warps': {16: 1, 32: 4, 64: 8}[max(padded(side_in), padded(side))], 'num_stages': 1}
    warps = 4 if max(side_in, side) <= 16 else 8
    return {'BLOCK': warps * 32 * (8 if dtype == torch.float32 else 16) // padded(side), 'num_warps': warps,
            'num_stages': 1}
