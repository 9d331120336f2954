"""Command line that makes the mini data."""

import argparse
import os
import time
from pathlib import Path

from ..errors import exit_status
from .console import progress_line
from .mini import COUNTS, make_mini_data


def main(argv=None):
    """Make the mini data as the command line asks; returns the exit status."""
    args = _parser().parse_args(argv)

    def make():
        started = time.monotonic()
        made = make_mini_data(args.out, seed=args.seed, detection=args.detection, segmentation=args.segmentation,
                              classification=args.classification, progress=progress_line())
        if made:
            print(f'made mini data in {args.out} ({time.monotonic() - started:.0f} s)')
        else:
            print(f'mini data in {args.out} is complete; nothing to do')
        return 0

    return exit_status(make, f'stopped; nothing was made at {args.out}')


def _parser():
    parser = argparse.ArgumentParser(
        description='Make the mini data: handwritten digits on photographs, for detection (COCO layout), '
                    'segmentation (VOC layout) and classification (folders). Nothing is downloaded.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path(os.environ.get('MOBILEODE_DATA') or 'data') / 'mini',
                        help='folder to make; one that holds anything else is left as it is')
    parser.add_argument('--seed', type=int, default=0, help='another seed gives other pictures')
    for task, counts in COUNTS.items():
        parser.add_argument(f'--{task}', type=int, nargs=2, default=counts, metavar=('TRAIN', 'VAL'),
                            help='numbers of pictures')
    return parser
