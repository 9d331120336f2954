"""``mobileode verify``."""
import argparse
import math
from pathlib import Path

from .options import add_config_options

#: Seconds for each kind of files in a split with --quick.
QUICK = 3
#: Named here: the checks themselves take a second to import.
PUBLISHED = ('coco', 'voc', 'imagenet', 'cifar10', 'ade20k', 'busi', 'faces', 'imagenet-r', 'tiny-imagenet')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = (
        'Say what is wrong with data before training does. Of a config: all that it names, against each other and '
        'against its network, as a training checks it. Of a folder: the data set in it. Of a published data set '
        f'({", ".join(PUBLISHED)}) and its folder: the same, and its published numbers. Nothing is changed. Exit '
        'status 2 where there is a problem.')
    parser.add_argument('target', metavar='CONFIG|FOLDER|NAME',
                        help=f'config file, folder, or one of {", ".join(PUBLISHED)}')
    parser.add_argument('root', nargs='?', type=Path, metavar='ROOT',
                        help='folder of the published data set, as the configs name it in data_root')
    parser.add_argument('--subset', action='store_true',
                        help='a part of a published set, or data of your own in its layout: numbers and names of '
                             'classes are not compared with the published ones')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--quick', action='store_true',
                     help=f'read a sample of the images, spread evenly, for {QUICK} seconds a split; all are '
                          'looked for in any case')
    how.add_argument('--all-images', action='store_true',
                     help='read all images: the default, but of a config, whose images are sampled from 2,000 on')
    parser.add_argument('--all-names', action='store_true', help='name every file and entry, not the first ten')
    add_config_options(parser)
    parser.set_defaults(wrong=parser.error)


def run(args: argparse.Namespace) -> int:
    """Print what was found; returns 0, or 2 where there is a problem."""
    from ..data import verify
    from ..data.console import progress_line
    named = args.root is not None
    if named and args.target not in PUBLISHED:
        args.wrong(f'{args.target} is none of {", ".join(PUBLISHED)}')
    is_folder = named or Path(args.target).is_dir()
    for flag, given, taken in (('--subset', args.subset, named), ('--cfg-options', args.cfg_options, not is_folder)):
        if given and not taken:
            args.wrong(f'{flag} is not for {args.target}')
    reading = verify.Reading(QUICK if args.quick else math.inf, progress_line)
    if named and args.target == 'cifar10':
        report = verify.verify_cifar10(args.root)
    elif named:
        report = verify.CHECKS[args.target](args.root, args.subset, reading)
    elif is_folder:
        report = verify.verify_folder(args.target, reading)
    else:
        from ..runs.verifying import verify_config
        seconds = QUICK if args.quick else math.inf if args.all_images else None
        report = verify_config(args.target, args.cfg_options, seconds, progress_line)
    print(report.text(None if args.all_names else 10))
    return 2 if report.problems else 0
