"""The kernels of a wheel against those compiled for this very processor: how much slower, and that the numbers agree.

    python -m benchmarks.speed.prebuilt [--threads 2] [--rounds 15] [--page docs/performance.md]

The eight layers of ``mobileode bench layer``, L = 3, batch 1, float32: the C functions alone, all libraries in turn in
one process. A wheel's libraries are compiled first, some minutes, and kept in ``--libraries``. Those of instruction
sets that this processor does not have are left out.
"""
import argparse
import ctypes
import functools
import math
import platform
from pathlib import Path

import torch

from benchmarks.machine import describe_machine
from benchmarks.output import around, markdown, number, put_into_page
from benchmarks.speed.sampling import quartiles, sample_in_turn
from benchmarks.speed.variants import LAYER_SHAPES
from mobileode_mm.ode.backends import build, compiler, cpu_kernels

STEPS = 3
#: Differences of float32 between orders of sums.
TOLERANCE = 1e-3


def libraries(folder: Path) -> dict[str, ctypes.CDLL]:
    """By name, ``native`` first; those of a wheel are compiled into the folder where it does not have them."""
    levels = compiler.LEVELS[platform.machine()]
    paths = {level: folder / compiler.library_name(level) for level in levels}
    if not all(map(compiler.is_whole, paths.values())):
        compiler.compile_levels(folder)
    fastest = torch.backends.cpu.get_cpu_capability()
    usable = list(levels)[list(levels).index(fastest) if fastest in levels else -1:]
    native = build.compiled_library(compiler.find_compiler(), build.cache_folder())
    return {name: ctypes.CDLL(str(path)) for name, path in {'native': native, **{
        level: paths[level] for level in usable}}.items()}


class Layer:
    """A layer's tensors, and calls of its kernels, which return what they have written.

    Args:
        shape: As in ``LAYER_SHAPES``, C_IN-C_OUT-H.
    """

    def __init__(self, shape: str):
        c_in, c_out, side = map(int, shape.split('-'))
        p, q = math.isqrt(c_in), math.isqrt(c_out)
        torch.manual_seed(0)
        threads = torch.get_num_threads()
        self.call = functools.partial(cpu_kernels.Call, 1, side * side, p, q, STEPS, threads, False, False, eps=1e-5)
        self.x, self.y_grad = torch.randn(side, side, c_in), torch.randn(side, side, c_out)
        self.solver = [torch.randn(STEPS, q, q) / q, torch.full((STEPS, ), 1 / STEPS)]
        self.norm = [1 + 0.2 * torch.rand(side, side), 0.2 * torch.randn(side, side)]
        self.fixed = [torch.randn(side, side), 1 + torch.rand(side, side)]
        self.y = torch.empty_like(self.y_grad)
        self.statistics = [torch.empty(STEPS, side, side) for _ in range(2)]
        self.gradients = [torch.empty_like(value) for value in (self.x, *self.solver, *self.norm)]

    def infer(self, library: ctypes.CDLL) -> list[torch.Tensor]:
        cpu_kernels.call_kernel(library, 'cos_eval', self.call(),
                                [self.x, *self.solver, *self.norm, *self.fixed, self.y])
        return [self.y]

    def train(self, library: ctypes.CDLL) -> list[torch.Tensor]:
        cpu_kernels.call_kernel(library, 'cos_train', self.call(),
                                [self.x, *self.solver, *self.norm, self.y, *self.statistics])
        cpu_kernels.call_kernel(library, 'cos_train_backward', self.call(of_batch=True),
                                [self.y_grad, self.x, *self.solver, *self.norm, *self.statistics, *self.gradients])
        return [self.y, *self.statistics, *self.gradients]


def measure(mode: str, loaded: dict[str, ctypes.CDLL], rounds: int) -> list[list[str]]:
    """A row for each layer and one for all: milliseconds of each library, and over those of ``native``.

    Raises:
        SystemExit: The numbers of two libraries differ.
    """
    rows, ratios = [], {name: [] for name in loaded}
    for shape in LAYER_SHAPES:
        layer = Layer(shape)
        step = getattr(layer, mode)
        written = {name: [value.clone() for value in step(library)] for name, library in loaded.items()}
        for name, values in written.items():
            worst = max(((a - b).norm() / b.norm()).item() for a, b in zip(values, written['native']))
            if not worst < TOLERANCE:
                raise SystemExit(f'{mode} {shape}: {name} differs from native by {worst:.1e}')
        times = sample_in_turn({name: functools.partial(step, library) for name, library in loaded.items()}, rounds)
        medians = {name: quartiles(samples)[1] for name, samples in times.items()}
        for name, samples in times.items():
            ratios[name].append(quartiles([a / b for a, b in zip(samples, times['native'])])[1])
        rows.append([f'{mode} {shape}', *map(number, medians.values()),
                     *(number(ratios[name][-1]) for name in loaded if name != 'native')])
    means = [number(math.exp(sum(map(math.log, ratios[name])) / len(rows))) for name in loaded if name != 'native']
    return [*rows, [f'**{mode}, geometric mean**', *['' for _ in loaded], *means]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=2, help='default: 2')
    parser.add_argument('--rounds', type=int, default=15, help='samples of each (default: 15)')
    parser.add_argument('--libraries', type=Path, default=Path('work_dirs/prebuilt'), metavar='FOLDER',
                        help='where those of a wheel are kept (default: work_dirs/prebuilt)')
    parser.add_argument('--page', type=Path, metavar='FILE',
                        help='put the table into this page, between its marks "prebuilt"')
    args = parser.parse_args()
    if args.page:
        around(args.page, 'prebuilt')
    torch.set_num_threads(args.threads)
    loaded = libraries(args.libraries)
    rows = [row for mode in ('infer', 'train') for row in measure(mode, loaded, args.rounds)]
    others = [name for name in loaded if name != 'native']
    results = [dict(head=['kernels', *loaded, *(f'{name} ÷ native' for name in others)], rows=rows),
               f'{describe_machine(torch.device("cpu"))}; float32, batch 1, L = {STEPS}, {args.rounds} rounds; ms.']
    text = markdown(results)
    print(text)
    if args.page:
        put_into_page(args.page, 'prebuilt', results, text)


if __name__ == '__main__':
    main()
