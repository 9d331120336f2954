"""Tiles and warps of each kernel, over a grid, for the layer that is furthest from the copy."""
import functools
import math
import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mobileode_mm.data.json_file import read_json
from mobileode_mm.ode.backends import gpus, triton_blocks, triton_operators

from ..speed.compare import DTYPES
from ..speed.sampling import clock_of
from ..speed.variants import parse_layer
from . import parity
from .part import Case, Plan, table_of

TITLE = 'Tuning'
DEFAULT_LAYER = '144-144-80'
#: Position norms of a larger batch are streamed.
BATCHES = {'position_forward_streamed': 64}
BATCH = 32
WARPS = (1, 2, 4, 8, 16)
#: Numbers of a tile.
LEAST_TILE, LARGEST_TILE = 512, 16384
#: A choice that is no faster than this is not worth a line in the table.
GAIN = 0.97
SAMPLES = 5


def cases(plan: Plan) -> Iterator[Case]:
    """Every kernel whose choice can be tuned, in half precision and then in float32."""
    for name in ('float32', ) if plan.is_dry else ('float16', 'float32'):
        for kernel in ('infer', 'position_backward', 'channel_forward') if plan.is_dry else triton_blocks.TUNED:
            layer = '9-16-1x2' if plan.is_dry else worst_layer(plan, kernel, name)
            yield Case(f'{kernel}, {name}, {layer}', functools.partial(_tune, plan, kernel, DTYPES[name], layer))


def markdown(rows: list[dict]) -> str:
    """The rule's choice and the best one of each kernel."""
    return table_of(rows, {'type and padded sides': 'key', 'by rule': 'rule', 'ms': 'rule_ms', 'best': 'best',
                           'best, ms': 'best_ms', 'tried': 'tried', 'refused': 'refused'})


def worst_layer(plan: Plan, kernel: str, dtype: str) -> str:
    """The layer of the part ``layers`` that took longest over its copy; V1's first one where there is none."""
    path = plan.folder / 'layers.json'
    call = f'{"infer" if kernel == "infer" else "train"} {dtype}'
    rows = read_json(path)['rows'] if path.is_file() else []
    ratios = {row['shape']: row['over_copy']['cos:triton/eager'] for row in rows
              if row.get('call') == call and 'cos:triton/eager' in row.get('over_copy', {})}
    return max(ratios, key=ratios.__getitem__, default=DEFAULT_LAYER)


def grid(kernel: str, rule: dict[str, int], side: int) -> list[dict[str, int]]:
    """Choices for a kernel, the rule's own first and those most like it before others."""
    tiles = [1 << power for power in range(4, 15)
             if LEAST_TILE <= (1 << power) * triton_blocks.padded(side) <= LARGEST_TILE]
    choices = [{**rule, 'num_warps': warps, **({'BLOCK': block} if block else {})}
               for block in (tiles if 'BLOCK' in rule else [0]) for warps in WARPS]

    def distance(choice: dict[str, int]) -> float:
        return sum(abs(math.log2(choice[key] / rule[key])) for key in rule)

    return [rule, *sorted((choice for choice in choices if choice != rule), key=distance)]


def _tune(plan: Plan, kernel: str, dtype: torch.dtype, layer: str) -> dict:
    channels_in, channels_out, size = parse_layer(layer)
    side_in, side = math.isqrt(channels_in), math.isqrt(channels_out)
    batch, num_steps = (2, 1) if plan.is_dry else (BATCHES.get(kernel, BATCH), 3)
    shape = parity.Shape(batch, side_in, side, *size, num_steps)
    call = _call(kernel, shape, dtype, plan.device)
    rule = triton_blocks.chosen(kernel, dtype, side_in, side, architecture=gpus.architecture(plan.device.index))
    choices = grid(kernel, rule, side)[:2 if plan.is_dry else None]
    expected, times, refused = call(), [], 0
    for choice in choices:
        if not plan.seconds_left() and times:
            break
        triton_blocks.TRIED[kernel] = choice
        try:
            # Another order of sums; NaN is refused with the rest.
            if all(parity.difference(ours, theirs.double()) <= parity.GRADIENT_ERRORS[dtype]
                   for ours, theirs in zip(call(), expected)):
                times.append((_milliseconds(call, plan), choice))
            else:
                refused += 1
        except Exception as error:  # too much shared memory, too many registers, or what the compiler refuses
            print(f'{kernel}, {choice}: {error}', flush=True)
            refused += 1
        finally:
            triton_blocks.TRIED.pop(kernel)
    best_ms, best = min(times, key=lambda pair: pair[0])
    return dict(kernel=kernel, key=triton_blocks.key(dtype, side_in, side), layer=layer, rule=rule, rule_ms=times[0][0],
                best=best, best_ms=best_ms, tried=len(times), refused=refused,
                times=[dict(choice, ms=ms) for ms, choice in times])


def _call(kernel: str, shape: parity.Shape, dtype: torch.dtype, device: torch.device) -> Callable[[], list[Tensor]]:
    """The operator that launches a kernel, as a call that returns its results."""
    kind = 'channel' if kernel in triton_blocks.BY_CHANNEL else 'position'
    inputs = [tensor.detach() for tensor in parity.make(shape, kind, dtype, device)]
    if kernel == 'infer':
        return lambda: [triton_operators.cos_infer(*inputs, kind)]
    if 'forward' in kernel:
        return lambda: list(triton_operators.cos_train(*inputs, parity.EPS, kind))
    y, means, variances = triton_operators.cos_train(*inputs, parity.EPS, kind)
    y_grad = torch.randn_like(y)
    backward = torch.ops.mobileode.triton_cos_train_backward
    return lambda: list(backward(y_grad, *inputs, means, variances, parity.EPS, kind))


def _milliseconds(call: Callable[[], object], plan: Plan) -> float:
    clock = clock_of(plan.device)
    call()
    calls = 1 if plan.is_dry else 10
    return statistics.median(1000 * clock(call, calls) for _ in range(1 if plan.is_dry else SAMPLES))
