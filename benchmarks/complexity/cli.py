"""The command line of ``tools/analysis_tools/get_flops.py``."""
import argparse
import contextlib
import sys

from mobileode_mm.cli import Options
from mobileode_mm.errors import InputError, exit_status

from .from_config import count_config
from .report import describe, tables


def main(argv: list[str] | None = None) -> int:
    """Count a config's network, or print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(
        'get_flops.py', description='Parameters, multiply-adds (MACs), FLOPs and activations of a network, by stage '
        'and by operator, as Markdown. No data are needed.')
    parser.add_argument('config', nargs='?', help='config of a detector, segmentor or classifier')
    parser.add_argument('--shape', nargs='+', metavar=('H', 'W'), help='height and width of the picture in pixels '
                        '(default: what the config says)')
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE',
                        help='replace settings of the config, as in model.backbone.num_steps=10')
    parser.add_argument('--table', action='store_true', help='instead of a config: MobileODE at several widths and '
                        'steps beside its peers, as classifier, SSDLite and DeepLabV3')
    args = parser.parse_args(argv)
    return exit_status(lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    if args.table == bool(args.config) or args.table and (args.shape or args.cfg_options):
        raise InputError('name one config, with --shape and --cfg-options as you like, or give --table alone')
    shape = None if args.shape is None else _sides(args.shape)
    with contextlib.redirect_stdout(sys.stderr):  # what the toolboxes log is no part of the answer
        text = tables() if args.table else describe(args.config,
                                                    *count_config(args.config, shape, args.cfg_options))
    print(text)


def _sides(given: list[str]) -> tuple[int, int]:
    if len(given) != 2 or not all(side.isdecimal() for side in given):
        raise InputError(f'--shape {" ".join(given)}: two whole numbers are wanted, height and width, as in '
                         '--shape 256 320')
    return tuple(map(int, given))
