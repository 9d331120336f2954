"""Timing several variants in turn, and what the samples say."""

import gc
import math
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch

#: Seconds that each of a number of calls of something takes.
Clock = Callable[[Callable[[], object], int], float]


def wall_clock(step: Callable[[], object], calls: int) -> float:
    """A :data:`Clock` of the processor."""
    begin = perf_counter()
    for _ in range(calls):
        step()
    return (perf_counter() - begin) / calls


def event_clock(step: Callable[[], object], calls: int) -> float:
    """A :data:`Clock` of the GPU: from an event before the first call to one after the last, on the current stream."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / calls


def clock_of(device: torch.device) -> Clock:
    return event_clock if device.type == 'cuda' else wall_clock


def sample_in_turn(steps: dict[str, Callable[[], object]], rounds: int, seconds: float = 0.02,
                   clock: Clock = wall_clock) -> dict[str, list[float]]:
    """Measure every variant once a round, each round starting with another variant, so that drift hits all alike.

    A sample is the mean of as many calls as take ``seconds`` or more, after one call that is not counted: it brings
    back the caches that the variant before has filled.

    Args:
        steps: What is measured, by label.
        rounds: Samples of each variant.
        seconds: Shortest sample; a call that takes longer is a sample by itself.
        clock: Measures a sample: the device's own.

    Returns:
        Milliseconds a call, one sample a round, by label. The n-th samples of all variants belong to one round.
    """
    calls = {}
    for label, step in steps.items():
        step()
        calls[label] = max(1, math.ceil(seconds / max(clock(step, 1), 1e-9)))
    samples = {label: [] for label in steps}
    labels = list(steps)
    collecting = gc.isenabled()
    try:
        for number in range(rounds):
            gc.collect()
            gc.disable()
            first = number % len(labels) if labels else 0
            for label in labels[first:] + labels[:first]:
                steps[label]()
                samples[label].append(1000 * clock(steps[label], calls[label]))
    finally:
        if collecting:
            gc.enable()
    return samples


def quartiles(samples: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    return tuple(np.quantile(samples, (0.25, 0.5, 0.75)).tolist())


def round_ratios(samples: list[float], baseline: list[float]) -> list[float]:
    """A variant's time over the baseline's, round by round: what slows the machine for a round cancels out."""
    return [one / other for one, other in zip(samples, baseline, strict=True)]
