"""Where a network's time goes, part by part, beside the least that each part can take on this machine; the command
``profile``."""

import argparse
import copy
import math
from dataclasses import dataclass
from time import perf_counter

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from mobileode_mm.backbones.mobileode import SolverModule
from mobileode_mm.errors import InputError

from ..complexity.solver import least_operations
from ..machine import OtherPrograms, describe_machine
from ..output import number, page_and_mark, put_into_page, table
from .report import MEGABYTE, free_folder, write_report
from .sampling import quartiles, sample_in_turn
from .variants import build_backbone, parse_size, positive
from .workloads import NetworkWorkload

MARKDOWN_NAME = 'profile_floor.md'
#: The marks of a page between which the tables are written.
PAGE = 'floors'
OPERATORS_LISTED = 12


@dataclass(frozen=True)
class Work:
    """The least that a part has to do in one call.

    Attributes:
        values: Numbers read and written: input, output and weights, each once.
        operations: Floating-point operations, two a multiply-add.
    """
    values: int
    operations: int


def part_work(part: nn.Module, x: Tensor, y: Tensor, train: bool) -> Work:
    """Work of a convolution or solver, fused with its norm and activation.

    Training reads the output's gradient and the input again, writes the input's gradient, and does the arithmetic three
    times: forward, for the input's gradient, for the weights'.
    """
    weights = sum(parameter.numel() for parameter in part.parameters())
    values = x.numel() + y.numel() + weights
    if isinstance(part, SolverModule):
        operations = least_operations(part.solver, y.numel() // part.solver.out_channels)
    else:
        operations = 2 * y.numel() * part.conv.weight[0].numel()
    return Work(values + (y.numel() + 2 * x.numel() + weights if train else 0), operations * (3 if train else 1))


class Machine:
    """This machine's copy bandwidth, at the size in question, and its rate of matrix products; measured when asked."""

    def __init__(self):
        self._bandwidth = {}
        side = 1024
        a, b, out = (torch.ones(side, side) for _ in range(3))
        self.operations_per_second = 2 * side ** 3 / _fastest(lambda: torch.mm(a, b, out=out), 0.5)

    def bytes_per_second(self, count: int) -> float:
        """Of a copy that reads and writes ``count`` bytes in all, down to the next power of two: caches make small
        copies faster, and a floor must not be too high."""
        exponent = max(12, math.floor(math.log2(count)))
        if exponent not in self._bandwidth:
            source = torch.ones(2 ** exponent // 8)
            target = torch.empty_like(source)
            self._bandwidth[exponent] = 2 ** exponent / _fastest(lambda: target.copy_(source))
        return self._bandwidth[exponent]

    def floor(self, work: Work) -> tuple[float, float]:
        """Milliseconds for the bytes (float32) and for the arithmetic; a part takes the larger of them or more."""
        size = 4 * work.values
        return 1000 * size / self.bytes_per_second(size), 1000 * work.operations / self.operations_per_second

    def describe(self) -> str:
        widths = ', '.join(f'{number(2 ** exponent / MEGABYTE)} MB: {number(rate / 1e9)}'
                           for exponent, rate in sorted(self._bandwidth.items()))
        return (f'matrix products (1024²): {number(self.operations_per_second / 1e9)} GFLOP/s; copies, GB/s read and '
                f'written, by size: {widths}')


def _fastest(call, seconds: float = 0.05) -> float:
    """Seconds of the fastest of the calls made within ``seconds``, five or more."""
    call()
    times, end = [], perf_counter() + seconds
    while len(times) < 5 or perf_counter() < end:
        begin = perf_counter()
        call()
        times.append(perf_counter() - begin)
    return min(times)


def parts_of(network: nn.Module, x: Tensor) -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    """Each convolution and each solver, with the norm after it, by name; with its input and output in ``network``."""
    seen, handles = {}, []
    for name, part in network.named_modules():
        if isinstance(part, (ConvModule, SolverModule)):
            def keep(module, inputs, output, name=name):
                # The activation may work in place on a norm's output, never on the part's own input.
                seen[name] = (module, inputs[0].detach(), output.detach())
            handles.append(part.register_forward_hook(keep))
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def kind_of(part: nn.Module) -> str:
    if isinstance(part, SolverModule):
        return f'solver {part.solver.in_channels}→{part.solver.out_channels}'
    if part.conv.groups > 1:
        return 'depthwise'
    return 'pointwise' if part.conv.kernel_size == (1, 1) else 'convolution'


def profile_network(name: str, size: tuple[int, int], batch: int, train: bool, rounds: int,
                    machine: Machine) -> dict:
    """Time of each part, replayed on the input that it has in the network, and of the network, in turn.

    Args:
        name: Backbone by name, one of this project's.
        size: Height and width.
        batch: Images.
        train: Forward and backward, else forward.
        rounds: Samples of each part.
        machine: For the floors.

    Returns:
        ``whole_ms``; ``rows``, a dict for each stage and kind of part: ``stage``, ``kind``, ``count``, ``ms``,
        ``bytes_ms``, ``arithmetic_ms``, ``floor_ms``; ``operators``, rows of the profiler's table.

    Raises:
        InputError: The backbone is not built of mmcv's ConvModules in named stages.
    """
    network = build_backbone(name, size, None, torch.device('cpu'))
    network.to(memory_format=torch.channels_last).train(train)
    x = torch.randn(batch, 3, *size).contiguous(memory_format=torch.channels_last)
    parts = parts_of(network, x)
    if not parts:
        raise InputError(f'{name} has no ConvModules to measure')
    workloads = {part: NetworkWorkload(copy.deepcopy(module), inputs, train, input_gradient=part != 'stem')
                 for part, (module, inputs, _) in parts.items()}
    whole = NetworkWorkload(network, x, train)
    steps = {'': whole.step, **{part: workload.step for part, workload in workloads.items()}}
    samples = sample_in_turn(steps, rounds, 0.005)
    groups = {}
    for part, (module, inputs, output) in parts.items():
        row = groups.setdefault((part.split('.')[0], kind_of(module)), dict.fromkeys(
            ('count', 'ms', 'bytes_ms', 'arithmetic_ms', 'floor_ms'), 0))
        in_bytes, in_arithmetic = machine.floor(part_work(module, inputs, output, train))
        for key, value in (('count', 1), ('ms', quartiles(samples[part])[1]), ('bytes_ms', in_bytes),
                           ('arithmetic_ms', in_arithmetic), ('floor_ms', max(in_bytes, in_arithmetic))):
            row[key] += value
    rows = [dict(stage=stage, kind=kind, **row) for (stage, kind), row in groups.items()]
    return dict(whole_ms=quartiles(samples[''])[1], rows=rows, operators=operators(whole))


def operators(workload: NetworkWorkload) -> list[tuple[str, int, float]]:
    """The profiler's operators with the most time of their own: name, calls, milliseconds."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as record:
        workload.step()
    found = sorted(record.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(event.key, event.count, event.self_cpu_time_total / 1000) for event in found[:OPERATORS_LISTED]]


def as_markdown(content: dict) -> str:
    """One section a network and mode."""
    parts = ['# Where the time goes, and the floors', _conditions(content)]
    for result in content['networks']:
        parts += [f'## {result["name"]}, {result["mode"]}', *_of_network(result)]
        parts.append(table(['operator', 'calls', 'own time, ms'],
                           [[f'`{name}`', str(count), number(time)] for name, count, time in result['operators']]))
    return '\n\n'.join(parts) + '\n'


def page_text(content: dict) -> str:
    """What a page shows of it: stages and solvers, without the convolutions and torch's operators."""
    parts = [_conditions(content)]
    for result in content['networks']:
        parts += [f'{result["name"]}, {result["mode"]}:', *_of_network(result, 'solver')]
    return '\n\n'.join(parts)


def _conditions(content: dict) -> str:
    height, width = content['size']
    return (f'- {content["machine"]}\n- {height}×{width} px, batch {content["batch"]}, float32, eager; '
            f'{content["quiet"]}\n- {content["floors"]}')


def _of_network(result: dict, kinds: str = '') -> list[str]:
    """The table of the parts whose kind begins so, with the sums of all, and a line on the network in one go."""
    keys = ('ms', 'bytes_ms', 'arithmetic_ms', 'floor_ms')

    def cells(stage: str, kind: str, rows: list[dict]) -> list[str]:
        sums = {key: sum(row[key] for row in rows) for key in keys}
        return [stage, kind, str(sum(row['count'] for row in rows)), *(number(sums[key]) for key in keys),
                number(sums['ms'] / sums['floor_ms'])]

    rows = []
    for stage in dict.fromkeys(row['stage'] for row in result['rows']):
        of_stage = [row for row in result['rows'] if row['stage'] == stage]
        rows += [cells(stage, row['kind'], [row]) for row in of_stage if row['kind'].startswith(kinds)]
        if len(of_stage) > 1:
            rows.append(cells(f'**{stage}**', 'all', of_stage))
    rows.append(cells('**parts**', 'all', result['rows']))
    floor = sum(row['floor_ms'] for row in result['rows'])
    return [table(['stage', 'part', 'count', 'measured ms', 'bytes, ms', 'arithmetic, ms', 'floor, ms',
                   'measured over floor'], rows),
            f'The network in one go: {number(result["whole_ms"])} ms, {number(result["whole_ms"] / floor)} times the '
            'floor of its parts.']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Time of every part of a network, beside the time that its bytes and its arithmetic need on '
                          'this machine. CPU, float32, eager.')
    parser.add_argument('names', nargs='*', default=['MobileODEV1', 'MobileODEV2'], metavar='NAME',
                        help='backbones of this project')
    parser.add_argument('--modes', nargs='+', choices=('infer', 'train'), default=['infer', 'train'],
                        help='train: forward and backward')
    parser.add_argument('--shape', default='320', metavar='HxW')
    parser.add_argument('--batch', default='1', metavar='N')
    parser.add_argument('--rounds', default='15', metavar='N', help='samples of each part (default: 15)')
    parser.add_argument('--threads', metavar='N', help='threads of torch (default: its own choice)')
    parser.add_argument('--out', metavar='DIR', help=f'write {MARKDOWN_NAME} into this folder')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the tables into this page, between its marks of this name (default: {PAGE})')


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    try:
        batch, rounds = positive(args.batch), positive(args.rounds)
        threads = positive(args.threads) if args.threads else None
    except ValueError as error:
        raise InputError(f'--batch, --rounds and --threads want a number of 1 or more: {error}') from None
    size = parse_size(args.shape)
    page, mark = page_and_mark(args.page, PAGE)
    out = free_folder(args.out, (MARKDOWN_NAME, )) if args.out else None
    if threads:
        torch.set_num_threads(threads)
    machine, others = Machine(), OtherPrograms()
    networks = [dict(profile_network(name, size, batch, mode == 'train', rounds, machine), name=name, mode=mode)
                for name in args.names for mode in args.modes]
    content = dict(machine=describe_machine(torch.device('cpu')), quiet=others.report(torch.get_num_threads()),
                   floors=machine.describe(), size=size, batch=batch, networks=networks)
    markdown = as_markdown(content)
    print(markdown)
    if out:
        write_report(out, {MARKDOWN_NAME: markdown})
    if page:
        put_into_page(page, mark, content, page_text(content))
