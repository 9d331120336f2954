"""``mobileode mini-data``."""
import argparse
import os
import time
from pathlib import Path

from ..data.console import progress_line
from ..data.mini import COUNTS, make_mini_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Make the mini data: handwritten digits on photographs, for detection (COCO layout), '
                          'segmentation (VOC layout) and classification (folders). Nothing is downloaded.')
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument('--out', type=Path, default=Path(os.environ.get('MOBILEODE_DATA') or 'data') / 'mini',
                        help='folder to make; one that holds anything else is left as it is')
    parser.add_argument('--seed', type=int, default=0, help='another seed gives other images')
    for task, counts in COUNTS.items():
        parser.add_argument(f'--{task}', type=int, nargs=2, default=counts, metavar=('TRAIN', 'VAL'),
                            help='numbers of images')
    parser.set_defaults(stopped='stopped; nothing was made')


def run(args: argparse.Namespace) -> None:
    """Make the data."""
    started = time.monotonic()
    made = make_mini_data(args.out, seed=args.seed, detection=args.detection, segmentation=args.segmentation,
                          classification=args.classification, progress=progress_line())
    if made:
        print(f'made mini data in {args.out} ({time.monotonic() - started:.0f} s)')
    else:
        print(f'mini data in {args.out} is complete; nothing to do')
