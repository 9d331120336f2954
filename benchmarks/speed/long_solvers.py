"""Time and memory of a training step over the number of steps of the solver, recomputed and stored.

    python -m benchmarks.speed.long_solvers [--batch 2] [--rounds 5] [--threads 1] [--page docs/performance.md]

One layer of 144 channels at 64×64, which is MobileViT-ODE's stage 2 at 256 px (L = 60). ``cpu`` and ``operators`` take
the steps again in the backward pass, ``reference`` stores them; all in turn in one run. Saved is what autograd keeps
beside the input and the parameters. With 60 steps float32 is far from float64, whatever computes it: the difference of
each from float64 stands in the table instead of deciding anything.
"""
import argparse
import copy
from pathlib import Path

import torch

from benchmarks.machine import OtherPrograms, describe_machine
from benchmarks.output import around, markdown, number, put_into_page
from benchmarks.speed.agreement import worst_difference
from benchmarks.speed.allocations import peak_bytes, saved_bytes
from benchmarks.speed.sampling import quartiles, sample_in_turn
from benchmarks.speed.workloads import NetworkWorkload
from mobileode_mm.ode import ChannelwiseODESolver

CHANNELS, SIDE = 144, 64
#: The marks of a page between which the table is written.
PAGE = 'long-solvers'
STEPS = (3, 20, 60)
#: By the name of who computes it, the layer's argument.
BACKENDS = {'cpu': 'auto', 'operators': 'operators', 'reference': 'reference'}


def measure(num_steps: int, batch: int, rounds: int) -> list[list[str]]:
    """A row for each backend: steps, backend, milliseconds, over the reference's, saved and peak MB, difference."""
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(CHANNELS, CHANNELS, num_steps, SIDE, backend='reference')
    x = torch.randn(batch, CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    exact = NetworkWorkload(copy.deepcopy(layer).double(), x.double(), train=True, input_gradient=True).probe()
    works = {}
    for name, backend in BACKENDS.items():
        other = copy.deepcopy(layer)
        other.backend = backend
        if other.backend_for(x)[0] != name:
            raise RuntimeError(f'{name} does not compute the layer here: {other.backend_for(x)[1]}')
        works[name] = NetworkWorkload(other, x, train=True, input_gradient=True)
    differences = {name: worst_difference(work.probe(), exact)[0] for name, work in works.items()}
    times = sample_in_turn({name: work.step for name, work in works.items()}, rounds)
    stored = quartiles(times['reference'])[1]
    rows = []
    for name, work in works.items():
        low, median, high = quartiles(times[name])
        owned = [*work.owned(), work.x]
        saved, peak = saved_bytes(work.step, owned), peak_bytes(work.step, x.device)
        rows.append([str(num_steps), name, f'{number(median)} ({number(low)} to {number(high)})',
                     number(median / stored), number(saved / 1e6), number(peak / 1e6), f'{differences[name]:.1e}'])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=2, help='images (default: 2)')
    parser.add_argument('--rounds', type=int, default=5, help='samples of each (default: 5)')
    parser.add_argument('--threads', type=int, default=1, help='of torch (default: 1)')
    parser.add_argument('--num-steps', type=int, nargs='+', default=STEPS, metavar='L', help='default: 3 20 60')
    parser.add_argument('--page', type=Path, metavar='FILE',
                        help=f'put the table into this page, between its marks "{PAGE}"')
    args = parser.parse_args()
    if args.page:
        around(args.page, PAGE)
    torch.set_num_threads(args.threads)
    others = OtherPrograms()
    rows = [row for steps in args.num_steps for row in measure(steps, args.batch, args.rounds)]
    quiet = others.report(args.threads)
    head = ['L', 'computed by', 'ms', '÷ reference', 'saved, MB', 'peak, MB', 'difference from float64']
    results = [dict(head=head, rows=rows),
               f'{describe_machine(torch.device("cpu"))}; float32, batch {args.batch}, {args.rounds} rounds; '
               f'{CHANNELS} channels at {SIDE}×{SIDE}, forward and backward; median and quartiles; {quiet}.']
    text = markdown(results)
    print(text)
    if args.page:
        put_into_page(args.page, PAGE, results, text)


if __name__ == '__main__':
    main()
