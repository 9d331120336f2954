"""``mobileode tree-data``."""
import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Make data of aerial photographs of trees, with VOC XML boxes, from the wheel of DeepForest '
                          '(20 MB), which pip fetches.')
    parser.add_argument('--out', type=Path, default=Path(os.environ.get('MOBILEODE_DATA') or 'data') / 'trees',
                        help='folder to make (default: data/trees)')
    parser.add_argument('--wheel', type=Path, help='the wheel, where it is at hand')
    parser.set_defaults(stopped='stopped; nothing was made')


def run(args: argparse.Namespace) -> None:
    """Make the data."""
    from ..data.trees import make_tree_data
    made = make_tree_data(args.out, args.wheel)
    print(f'made {args.out}' if made else f'{args.out} is complete; nothing to do')
