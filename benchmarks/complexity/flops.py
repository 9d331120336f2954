"""What one network costs, by stage and by operator; the command ``flops``."""
import argparse
import contextlib
import sys

from mobileode_mm.commands.options import Options
from mobileode_mm.errors import InputError

from ..output import markdown, page_and_mark, put_into_page
from .counting import Complexity
from .from_config import count_config
from .operators import Cost
from .tables import DEFINITIONS, tables

#: Marks that ``--page`` writes between, of a config and of the tables.
_STAGES, _NETWORKS = 'complexity-stages', 'complexity-networks'


def describe(name: str, complexity: Complexity, shape: tuple[int, int]) -> list[str | dict]:
    """All that is known of one network, by stage and by operator: parts, as :func:`markdown` takes them."""
    totals = [f'parameters: {complexity.parameters:,}', f'MACs: {complexity.cost.macs:,}',
              f'FLOPs: {complexity.cost.flops:,}', f'activations: {complexity.cost.activations:,}']
    totals += [f'parameters not read in inference: {number:,} in {part or "the model"}'
               for part, number in complexity.idle_parameters.items()]
    stages = [[stage.name or 'between', '×'.join(map(str, stage.output or '–')), f'{stage.parameters:,}',
               *_numbers(stage.cost)] for stage in complexity.stages]
    head = ['MACs', 'FLOPs', 'activations']
    kinds = sorted(complexity.kinds.items(), key=lambda kind: -kind[1].flops)
    parts = [f'{name}, {shape[0]}×{shape[1]} px (height × width)', '\n'.join(totals),
             dict(head=['stage', 'output', 'parameters', *head], rows=stages),
             dict(head=['operator', *head], rows=[[kind, *_numbers(cost)] for kind, cost in kinds])]
    if complexity.unknown:
        parts.append('Not counted, for their cost is not known: ' + ', '.join(
            f'{operator} ({calls}×)' for operator, calls in complexity.unknown.items()))
    return parts


def _numbers(cost: Cost) -> list[str]:
    return [f'{number:,}' for number in (cost.macs, cost.flops, cost.activations)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Parameters, multiply-adds (MACs), FLOPs and activations of a network, by stage and by '
                          'operator, as Markdown. No data are needed.')
    parser.add_argument('config', nargs='?', help='config of a detector, segmentor or classifier')
    parser.add_argument('--shape', nargs='+', metavar=('H', 'W'), help='height and width of the image in pixels '
                        '(default: what the config says)')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE',
                        help='replace settings of the config, as in model.backbone.num_steps=10')
    parser.add_argument('--table', action='store_true', help='instead of a config: MobileODE at several widths and '
                        'steps beside its peers, as classifier, SSDLite and DeepLabV3')
    parser.add_argument('--page', metavar='FILE[#NAME]', help='put it into this page, between its marks of this name '
                        f'(default: {_STAGES}, or {_NETWORKS} with --table)')


def run(args: argparse.Namespace) -> None:
    """Count a config's network, or print the tables."""
    if args.table == bool(args.config) or args.table and (args.shape or args.cfg_options):
        raise InputError('name one config, with --shape and --cfg-options as you like, or give --table alone')
    shape = None if args.shape is None else _height_and_width(args.shape)
    page, mark = page_and_mark(args.page, _NETWORKS if args.table else _STAGES)
    with contextlib.redirect_stdout(sys.stderr):  # what the toolboxes log is no part of the answer
        parts = tables() if args.table else describe(args.config, *count_config(args.config, shape, args.cfg_options))
    print(markdown([*parts, DEFINITIONS]))
    if page:
        put_into_page(page, mark, parts, markdown(parts))


def _height_and_width(given: list[str]) -> tuple[int, int]:
    if len(given) != 2 or not all(side.isdecimal() for side in given):
        raise InputError(f'--shape {" ".join(given)}: two whole numbers are wanted, height and width, as in '
                         '--shape 256 320')
    return tuple(map(int, given))
