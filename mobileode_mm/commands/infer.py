"""``mobileode infer``."""
import argparse
import sys

from .options import add_no_deploy, add_reading_options, add_steps

#: Exit status where some of the inputs could not be read.
SKIPPED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint of a training, or a published file')
    parser.add_argument('inputs', nargs='+', metavar='INPUT',
                        help='image, folder, "pattern*", video, index of a camera, or http(s) URL of an image')
    parser.add_argument('--out', default='predictions', metavar='FOLDER',
                        help='folder for drawn images, masks and predictions.json (default: ./predictions); one that '
                        'holds anything is left alone')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N', help='images at a time (default: 1)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: the GPU where there is one)')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='SCORE',
                        help='leave out boxes under this score (default: 0.3)')
    add_steps(parser)
    add_no_deploy(parser)
    add_reading_options(parser)


def run(args: argparse.Namespace) -> int:
    """Predict; returns the exit status: 1 where some inputs could not be read."""
    from ..inference.infer import infer
    summary = infer(args.config, args.checkpoint, args.inputs, args.out, args.batch_size, args.device, args.score_thr,
                    args.trust_checkpoint, args.cfg_options, args.deploy, args.steps)
    print(f'{summary.frames} images, {len(summary.skipped)} inputs skipped: {summary.result}', file=sys.stderr)
    return SKIPPED if summary.skipped else 0
