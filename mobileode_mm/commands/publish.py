"""``mobileode publish``."""
import argparse
import sys

from .options import add_reading_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Write the weights of a checkpoint, without what else a training keeps, and a card that says '
                          'what they are.')
    parser.add_argument('checkpoint', help='checkpoint of a training')
    parser.add_argument('--config', required=True, help='its config file')
    parser.add_argument('--out', default='published', metavar='FOLDER',
                        help='folder for the files (default: ./published); nothing in it is overwritten')
    parser.add_argument('--format', choices=('pth', 'safetensors'), default='pth',
                        help='of the weights (default: pth)')
    parser.add_argument('--half', action='store_true',
                        help='half precision; refused where it moves outputs by more than 1 %% of the largest')
    add_reading_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write weights and card."""
    from ..deploy.publishing import publish
    path = publish(args.checkpoint, args.config, args.out, args.format, args.half, args.trust_checkpoint,
                   args.cfg_options)
    print(f'{path}: {path.stat().st_size:,} bytes; the card is {path.with_suffix(".md").name} beside it',
          file=sys.stderr)
