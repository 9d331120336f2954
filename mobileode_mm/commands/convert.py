"""``mobileode convert``."""
import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Convert a classifier trained with the released MobileODE program into a checkpoint for '
                          'MobileODEV1, MobileODEV2 or MobileViTODE in mmpretrain.')
    parser.add_argument('source', metavar='IN', help='released checkpoint (.pt)')
    parser.add_argument('target', metavar='OUT', help='file to write (.pth); must not exist')


def run(args: argparse.Namespace) -> None:
    """Convert the file."""
    from ..checkpoints.released import convert_cvnets_file
    cfg = convert_cvnets_file(args.source, args.target)
    print(f'{args.target}: weights for {cfg}')
