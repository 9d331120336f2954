"""Calls of the CPU operators, compared with the plain solver: what a checked process does.

``python -m benchmarks.sanitize.cases FOLDER`` goes through all cases, or every n-th (``--every``), with the library
that the environment names. Each is named in the folder before it begins: the one that ends the process is known then.
"""
import argparse
import functools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.output import write_json
from mobileode_mm.ode import ChannelwiseODESolver, cos_naive
from mobileode_mm.ode.backends import cpu_kernels, cpu_operators
from mobileode_mm.zoo import create_model, list_models

#: Height and width; the last gives each of two threads several of the short sums of the channel norm.
MAPS = ((1, 1), (1, 3), (3, 1), (2, 2), (3, 5), (7, 3), (5, 7), (13, 11))
BATCHES = range(1, 10)
RANDOM_PAIRS, LARGEST_SIDE, LARGEST_SIDE_IN = 200, 72, 90
#: Multiply-adds of a step, the batch and the map together: the largest map that stays under it is taken.
MOST_WORK = 8_000_000
#: The last cases are run again, two at a time.
AT_A_TIME = 50
#: Large, so that a variance of few values does not magnify rounding.
EPS = 0.1
#: Of results, by their largest number, and of gradients, by their norm: float32 may come out on the other side of an
#: edge of ReLU6.
TOLERANCES = {torch.float32: (1e-4, 1e-2), torch.float64: (1e-10, 1e-10)}


@dataclass(frozen=True)
class Case:
    """A solver, p to q, and a batch of maps."""

    p: int
    q: int
    steps: int
    batch: int
    height: int
    width: int
    norm: str
    dtype: str
    threads: int
    channels_last: bool
    seed: int


@functools.cache
def sides_of_networks() -> tuple[tuple[int, int], ...]:
    """(p, q) of all solvers of the named networks."""
    with torch.device('meta'):
        layers = [layer for name in list_models() for layer in create_model(name).modules()]
    return tuple(sorted({(layer.side_in, layer.side) for layer in layers if isinstance(layer, ChannelwiseODESolver)}))


def cases(seed: int = 0) -> Iterator[Case]:
    """All sides of the networks with all batches, then random ones; both norms, both types, one or two threads."""
    generator = random.Random(seed)
    pairs = [(p, q, batch) for p, q in sides_of_networks() for batch in BATCHES]
    for number in range(RANDOM_PAIRS):
        # One in ten is larger than any that comes out.
        p = generator.randint(1, LARGEST_SIDE if number % 10 else LARGEST_SIDE_IN)
        pairs.append((p, generator.randint(1, LARGEST_SIDE), generator.choice(BATCHES)))
    number = 0
    for p, q, batch in pairs:
        for norm in ('position', 'channel'):
            for dtype in ('float32', 'float64'):
                few = [size for size in MAPS if batch * size[0] * size[1] * max(p, q)**3 <= MOST_WORK] or list(MAPS[:2])
                height, width = generator.choice(few)
                if batch * (height * width if norm == 'channel' else q * q) == 1:
                    width += 1
                if batch * q * q == 1:  # a position norm needs two values, and there is one
                    batch = 2
                number += 1
                yield Case(p, q, generator.randint(1, 4), batch, height, width, norm, dtype, 1 + number // 4 % 2,
                           generator.random() < 0.5, number)


def check(case: Case) -> list[str]:
    """Make all calls of a case; returns the names of results that are not those of the plain solver."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(case.seed)
    dtype = getattr(torch, case.dtype)
    size = (case.height, case.width)
    shape = size if case.norm == 'position' else (case.q**2, )

    def numbers(*sizes: int, low: float = 0.5, high: float = 1.5) -> Tensor:
        # Of a storage that ends with its last number.
        return (low + (high - low) * torch.rand(sizes, dtype=torch.float64)).to(dtype)

    def maps(side: int) -> Tensor:
        x = torch.randn(case.batch, side**2, *size, dtype=torch.float64).to(dtype)
        return x.contiguous(memory_format=torch.channels_last) if case.channels_last else x

    x, matrices = maps(case.p), numbers(case.steps, case.q, case.q, low=-0.2, high=0.2)
    lengths = numbers(case.steps, low=1.01 / case.steps, high=1.2 / case.steps)
    weight, bias = numbers(*shape), numbers(*shape)
    mean, variance, probe = numbers(*shape, low=-0.5), numbers(*shape), maps(case.q)
    after, residual = (numbers(case.q**2), numbers(case.q**2)), maps(case.q)
    differentiated = [x, matrices, lengths, weight, bias]
    reference = _Reference(case.norm, [value.double() for value in differentiated])
    wrong = []

    def compare(name: str, ours: Tensor, expected: Tensor, is_gradient: bool = False) -> None:
        absolute, relative = TOLERANCES[dtype]
        distance = ours.double() - expected
        # A number that is none is no distance under any limit.
        close = (distance.norm() <= relative * expected.norm() + absolute * distance.numel()**0.5 if is_gradient
                 else distance.abs().max() <= absolute * max(1.0, float(expected.abs().max())))
        if not close:
            wrong.append(name)

    for statistics in (None, (mean, variance)):
        for value in differentiated:
            value.requires_grad_().grad = None
        y, *moments = cpu_operators.cos_train(*differentiated, EPS, *(statistics or ()))
        gradients = torch.autograd.grad(y, differentiated, probe)
        kind = 'fixed' if statistics else 'of the batch'
        wanted, means, variances = reference.forward(statistics)
        compare(f'y, statistics {kind}', y.detach(), wanted.detach())
        if statistics is None:
            compare('mean', moments[0], means), compare('variance', moments[1], variances)
        for name, ours, theirs in zip(('x', 'matrices', 'step lengths', 'weight', 'bias'), gradients,
                                      torch.autograd.grad(wanted, reference.arguments, probe.double())):
            compare(f'gradient of {name}, statistics {kind}', ours, theirs, is_gradient=True)
    x, matrices, lengths, weight, bias = (value.detach() for value in differentiated)
    expected = wanted.detach()  # by the fixed statistics
    compare('cos_eval', cpu_operators.cos_eval(x, matrices, lengths, weight, bias, mean, variance, EPS, 0.0), expected)
    scale = weight / (variance + EPS).sqrt()
    transitions = matrices + torch.eye(case.q, dtype=dtype)
    deployed = x, transitions, lengths, scale, bias - mean * scale
    compare('cos_deployed', cpu_operators.cos_deployed(*deployed), expected)
    followed = (expected * after[0].double()[:, None, None] + after[1].double()[:, None, None]).clamp(0, 6)
    compare('cos_deployed, epilogue', cpu_operators.cos_deployed(*deployed, *after), followed)
    compare('cos_deployed, residual', cpu_operators.cos_deployed(*deployed, *after, residual),
            followed + residual.double())
    return wrong


class _Reference:
    """The plain solver in float64, and the statistics of its steps."""

    def __init__(self, norm: str, arguments: list[Tensor]):
        self.norm = norm
        self.arguments = [value.requires_grad_() for value in arguments]

    def forward(self, statistics: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        x, matrices, lengths, weight, bias = self.arguments
        # A map is (B, H, W, q²) here: of a position norm the values belong to H and W, of a channel norm to q².
        over, as_map = ((0, 3), (..., None)) if self.norm == 'position' else ((0, 1, 2), (...,))
        means, variances = [], []

        def norm(drive: Tensor) -> Tensor:
            if statistics is None:
                mean, variance = drive.mean(over), drive.var(over, unbiased=False)
            else:
                mean, variance = (value.double() for value in statistics)
            means.append(mean.detach()), variances.append(variance.detach())
            return ((drive - mean[as_map]) / (variance[as_map] + EPS).sqrt() * weight[as_map] + bias[as_map])

        return cos_naive(x, matrices, lengths, norm), torch.stack(means), torch.stack(variances)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--every', type=int, default=1)
    args = parser.parse_args()
    cpu_kernels.LEAST_WORK_PER_THREAD = 1  # small calls are shared by the threads too
    done = dict(cases=0, two_threads=0, sides=[0, 0], wrong=[])
    chosen = list(cases(args.seed))[::args.every]
    for case in chosen:
        (args.folder / 'case.txt').write_text(str(case))
        wrong = check(case)
        done['cases'] += 1
        done['two_threads'] += case.threads == 2 and case.height * case.width > 1
        done['sides'] = [max(done['sides'][0], case.p), max(done['sides'][1], case.q)]
        if wrong:
            done['wrong'].append(dict(case=asdict(case), results=wrong))
    (args.folder / 'case.txt').write_text('calls of two Python threads at a time')
    with ThreadPoolExecutor(2) as pool:
        for case, wrong in zip(chosen[-AT_A_TIME:], pool.map(check, chosen[-AT_A_TIME:])):
            if wrong:
                done['wrong'].append(dict(case=asdict(case), results=wrong, at_a_time=2))
    write_json(args.folder / 'done.json', done)


if __name__ == '__main__':
    main()
