"""``mobileode verify-data``."""
import argparse
import math
from pathlib import Path

#: Seconds for each kind of files in a split with --quick.
QUICK = 3
#: Named here: the checks themselves take a second to import.
DATA = ('coco', 'voc', 'imagenet', 'cifar10', 'ade20k', 'busi', 'faces', 'imagenet-r', 'tiny-imagenet')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Say what is wrong with the folder of a data set before training does: numbers, missing and '
                          'broken files, annotations, masks, class folders. Nothing is changed. Exit status 2 where '
                          'there is a problem.')
    parser.add_argument('data', choices=DATA, help='the data set')
    parser.add_argument('root', type=Path, metavar='ROOT', help='its folder, as the configs name it in data_root')
    parser.add_argument('--subset', action='store_true',
                        help='a part of the set, or data of your own in its layout: numbers and names of classes are '
                             'not compared with the published ones')
    parser.add_argument('--quick', action='store_true',
                        help=f'read a sample of the images, spread evenly, for {QUICK} seconds a split; all are '
                             'looked for in any case')
    parser.add_argument('--all-names', action='store_true', help='name every file and entry, not the first ten')


def run(args: argparse.Namespace) -> int:
    """Print what was found; returns 0, or 2 where there is a problem."""
    from ..data import verify
    from ..data.console import progress_line
    if args.data == 'cifar10':
        report = verify.verify_cifar10(args.root)
    else:
        reading = verify.Reading(QUICK if args.quick else math.inf, progress_line)
        report = verify.CHECKS[args.data](args.root, args.subset, reading)
    print(report.text(None if args.all_names else 10))
    return 2 if report.problems else 0
