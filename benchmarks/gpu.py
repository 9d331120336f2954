"""Prove the kernels on a GPU, measure layers, networks and trainings, and write all of it down; the command ``gpu``.

Also a script, for machines on which nothing can be installed: ``python benchmarks/gpu.py --out FOLDER``.
"""
import argparse
import importlib.util
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    from .gpu_parts import PARTS
    parser.description = ('Prove the Triton kernels on a GPU, measure layers, networks and trainings, tune the '
                          'kernels; each part writes its JSON and Markdown while it runs.')
    parser.add_argument('--out', required=True, type=Path, metavar='FOLDER', help='where the results go')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), metavar='PART',
                        help=f'some parts, in the order in which they run: {", ".join(PARTS)}')
    parser.add_argument('--minutes', type=float, default=9.0,
                        help='for all parts together; what does not fit in is left out (default: 9)')
    parser.add_argument('--dry-run', action='store_true',
                        help='walk through every part on the CPU, with tiny shapes: no GPU is needed, no figure counts')


def run(args: argparse.Namespace) -> int:
    """Run the parts; returns the exit status, which is 1 where something was wrong."""
    from mobileode_mm.errors import InputError
    if importlib.util.find_spec('triton') is None:
        raise InputError('Triton is not installed, and the kernels are its: pip install triton (it is for Linux alone)')
    from .gpu_parts.execution import SUMMARY, run_parts
    is_right = run_parts(args.out, list(dict.fromkeys(args.only)), args.minutes, args.dry_run)
    print((args.out / SUMMARY).read_text(encoding='utf-8'))
    return int(not is_right)


if __name__ == '__main__':
    sys.path[0] = str(Path(__file__).parents[1])  # in the place of benchmarks/, whose modules are not top-level ones
    from mobileode_mm.cli import main
    sys.exit(main(['gpu', *sys.argv[1:]]))
