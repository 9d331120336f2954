"""Tiles, warps and programs of each kernel, over a grid, for MobileODE V1's layers.

The choices are compiled by many processes before they are timed: ``python -m benchmarks.gpu_parts.tuning SHARD SHARDS``
is one of them.
"""
import functools
import itertools
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import geometric_mean
from unittest.mock import patch

import torch
from torch import Tensor

from mobileode_mm.ode.backends import gpus, triton_blocks, triton_operators
from mobileode_mm.runs.processes import usable_cores

from .. import ROOT
from ..speed.compare import DTYPES
from ..speed.sampling import clock_of
from ..speed.variants import parse_layer
from ..suites.processes import TIED
from . import parity
from .part import Case, Plan, table_of

TITLE = 'Tuning'
#: Layers that one choice serves: of the same padded sides.
LAYERS = (('144-144-80', '256-256-40'), ('576-576-20', '1024-1024-10'))
DRY_LAYERS = (('9-16-1x2', ), )
#: Position norms of a larger batch are streamed.
BATCHES = {'position_forward_streamed': 64}
BATCH = 32
#: Steps; with more than SLOTS states are computed anew.
STEPS = {'channel_states': 6}
WARPS = (1, 2, 4, 8, 16)
PROGRAMS = {'position_forward_streamed': (1, 2, 4, 8), 'position_backward': (1, 2, 4, 8),
            **dict.fromkeys(triton_blocks.BY_CHANNEL, (4, 8, 16, 32))}
#: Numbers of a tile, and of it in a thread.
LEAST_TILE, LARGEST_TILE = 512, 8192
IN_A_THREAD = range(4, 65)
#: A choice that is no faster than this is not worth a line in the table.
GAIN = 0.97
CALLS, SAMPLES = 5, 5
#: Share of the part's time for compiling ahead.
AHEAD = 0.6


def cases(plan: Plan) -> Iterator[Case]:
    """Every kernel whose choice can be tuned, in half precision and then in float32."""
    if not plan.is_dry:
        yield Case('compiled ahead', functools.partial(_compile_ahead, plan))
    for name, kernel, layers in _subjects(plan.is_dry):
        yield Case(f'{kernel}, {name}, {" and ".join(layers)}',
                   functools.partial(_tune, plan, kernel, DTYPES[name], layers))


def _subjects(is_dry: bool) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Type, kernel and layers of each case."""
    if is_dry:
        return itertools.product(('float32', ), ('infer', 'position_backward', 'channel_forward'), DRY_LAYERS)
    return itertools.product(('float16', 'float32'), triton_blocks.TUNED, LAYERS)


def markdown(rows: list[dict]) -> str:
    """The choice before and the best one of each kernel."""
    return table_of(rows, {'type and padded sides': 'key', 'before': 'rule', 'ms': 'rule_ms', 'best': 'best',
                           'best, ms': 'best_ms', 'ratio': 'ratio', 'tried': 'tried', 'refused': 'refused'})


def grid(kernel: str, rule: dict[str, int], side: int) -> list[dict[str, int]]:
    """Choices for a kernel, the rule's own first and those most like it before others."""
    tiles = [1 << power for power in range(4, 15)
             if LEAST_TILE <= (1 << power) * triton_blocks.padded(side) <= LARGEST_TILE]
    choices = []
    for block, warps, programs in itertools.product(tiles if 'BLOCK' in rule else [0], WARPS,
                                                    PROGRAMS.get(kernel, (0, ))):
        if not block or block * triton_blocks.padded(side) // (32 * warps) in IN_A_THREAD:
            choices.append({**rule, 'num_warps': warps, **({'BLOCK': block} if block else {}),
                            **({'programs': programs} if programs else {})})

    def distance(choice: dict[str, int]) -> float:
        return sum(abs(math.log2(choice[key] / rule[key])) for key in rule)

    return [rule, *sorted((choice for choice in choices if choice != rule), key=distance)]


def _tune(plan: Plan, kernel: str, dtype: torch.dtype, layers: Sequence[str]) -> dict:
    calls = [_call(kernel, _shape(kernel, layer, plan.is_dry), dtype, plan.device) for layer in layers]
    rule, side_in, side = _rule(kernel, dtype, layers[0], plan.device)
    times: list[tuple[dict[str, int], list[float]]] = []
    expected, refused = [call() for call in calls], 0
    for choice in grid(kernel, rule, side)[:2 if plan.is_dry else None]:
        if not plan.seconds_left() and times:
            break
        try:
            # Another order of sums; NaN is refused with the rest.
            with patch.dict(triton_blocks.TRIED, {kernel: choice}):
                if all(parity.difference(ours, theirs.double()) <= parity.GRADIENT_ERRORS[dtype]
                       for call, before in zip(calls, expected) for ours, theirs in zip(call(), before)):
                    times.append((choice, [_milliseconds(call, plan) for call in calls]))
                else:
                    refused += 1
        except Exception as error:  # too much shared memory, too many registers, or what the compiler refuses
            print(f'{kernel}, {choice}: {error}', flush=True)
            refused += 1
    before = times[0][1]
    best, best_ms = min(times, key=lambda pair: geometric_mean(pair[1]))
    return dict(kernel=kernel, key=triton_blocks.key(dtype, side_in, side), layers=list(layers), rule=rule,
                rule_ms=_rounded(before), best=best, best_ms=_rounded(best_ms),
                ratio=geometric_mean(best_ms) / geometric_mean(before), tried=len(times), refused=refused,
                times=[dict(choice, ms=_rounded(ms)) for choice, ms in times])


def _rounded(times: list[float]) -> list[float]:
    return [round(ms, 4) for ms in times]


def _shape(kernel: str, layer: str, is_dry: bool, size: tuple[int, int] | None = None) -> parity.Shape:
    channels_in, channels_out, own_size = parse_layer(layer)
    batch, num_steps = (2, 1) if is_dry else (BATCHES.get(kernel, BATCH), STEPS.get(kernel, 3))
    return parity.Shape(batch, math.isqrt(channels_in), math.isqrt(channels_out), *(size or own_size), num_steps)


def _rule(kernel: str, dtype: torch.dtype, layer: str, device: torch.device) -> tuple[dict[str, int], int, int]:
    """What a kernel is launched with now, and the sides."""
    _, side_in, side, *_ = _shape(kernel, layer, False)
    return (triton_blocks.chosen(kernel, dtype, side_in, side, architecture=gpus.architecture(device.index)), side_in,
            side)


def _compile_ahead(plan: Plan) -> dict:
    """Have every choice compiled into Triton's cache by as many processes as there are cores."""
    shards = usable_cores()
    processes = [subprocess.Popen([*TIED, sys.executable, '-m', __spec__.name, str(shard), str(shards)], cwd=ROOT)
                 for shard in range(shards)]
    try:
        for process in processes:
            process.wait(max(1.0, AHEAD * plan.seconds_left()))
    except subprocess.TimeoutExpired:
        print('not all choices were compiled ahead', flush=True)
    finally:
        for process in processes:
            process.kill()
    return {}


def compile_share(shard: int, shards: int) -> None:
    """Call every kernel with each of its choices, on small maps: one of several processes that share them."""
    device, number = torch.device('cuda:0'), itertools.count()
    for name, kernel, layers in _subjects(False):
        for layer in layers:
            rule, _, side = _rule(kernel, DTYPES[name], layer, device)
            # The number of programs is nothing that the compiler sees.
            choices = {tuple((key, choice[key]) for key in sorted(choice) if key != 'programs'): choice
                       for choice in grid(kernel, rule, side)}
            mine = [choice for choice in choices.values() if next(number) % shards == shard]
            if not mine:
                continue
            call = _call(kernel, _shape(kernel, layer, False, (4, 4)), DTYPES[name], device)
            for choice in mine:
                try:
                    with patch.dict(triton_blocks.TRIED, {kernel: choice}):
                        call()
                        torch.cuda.synchronize()
                except Exception as error:  # it is refused when it is its turn
                    print(f'{kernel}, {choice}: {str(error)[:200]}', flush=True)


def _call(kernel: str, shape: parity.Shape, dtype: torch.dtype, device: torch.device) -> Callable[[], list[Tensor]]:
    """The operator that launches a kernel, as a call that returns its results."""
    kind = 'channel' if kernel in triton_blocks.BY_CHANNEL else 'position'
    x, *others = (tensor.detach() for tensor in parity.make(shape, kind, dtype, device))
    inputs = [x.contiguous(memory_format=torch.channels_last), *others]
    if kernel == 'infer':
        return lambda: [triton_operators.cos_infer(*inputs, kind)]
    if 'forward' in kernel:
        return lambda: list(triton_operators.cos_train(*inputs, parity.EPS, kind))
    y, means, variances = triton_operators.cos_train(*inputs, parity.EPS, kind)
    y_grad = torch.randn_like(y)
    backward = torch.ops.mobileode.triton_cos_train_backward
    return lambda: list(backward(y_grad, *inputs, means, variances, parity.EPS, kind))


def _milliseconds(call: Callable[[], object], plan: Plan) -> float:
    """The GPU's time of a call, by a CUDA graph: the processor takes longer to launch some kernels than they run."""
    calls = 1 if plan.is_dry else CALLS
    if plan.device.type == 'cuda':
        call()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                call()
        step = graph.replay
    else:
        step = call
    clock = clock_of(plan.device)
    step()
    return statistics.median(1000 * clock(step, 1) / calls for _ in range(1 if plan.is_dry else SAMPLES))


if __name__ == '__main__':
    compile_share(int(sys.argv[1]), int(sys.argv[2]))
