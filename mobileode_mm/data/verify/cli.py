"""Command line that checks a data set."""

import argparse
import math
from pathlib import Path

from ...errors import exit_status
from ..console import progress_line
from .cifar10 import verify_cifar10
from .coco import verify_coco
from .files import Reading
from .imagenet import verify_imagenet
from .voc import verify_voc

#: Seconds for each kind of files in a split with --quick.
QUICK = 3

_VERIFY = {'coco': verify_coco, 'voc': verify_voc, 'imagenet': verify_imagenet, 'cifar10': verify_cifar10}


def main(argv: list[str] | None = None) -> int:
    """Check what the command line names and print what was found; returns 0, or 2 where there is a problem."""
    args = _parser().parse_args(argv)

    def verify() -> int:
        options = {}
        if args.data != 'cifar10':
            options = {'subset': args.subset, 'reading': Reading(QUICK if args.quick else math.inf, progress_line)}
        report = _VERIFY[args.data](args.root, **options)
        print(report.text(None if args.all_names else 10))
        return 2 if report.problems else 0

    return exit_status(verify)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Say what is wrong with the folder of a data set before training does: numbers, missing and broken '
                    'files, annotations, masks, class folders. Nothing is changed. Exit status 2 where there is a '
                    'problem.')
    parser.add_argument('data', choices=_VERIFY, help='the data set')
    parser.add_argument('root', type=Path, metavar='ROOT', help='its folder, as the configs name it in data_root')
    parser.add_argument('--subset', action='store_true',
                        help='a part of the set, or data of your own in its layout: numbers and names of classes are '
                             'not compared with the published ones')
    parser.add_argument('--quick', action='store_true',
                        help=f'read a sample of the pictures, spread evenly, for {QUICK} seconds a split; all are '
                             'looked for in any case')
    parser.add_argument('--all-names', action='store_true', help='name every file and entry, not the first ten')
    return parser
