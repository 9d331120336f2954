"""``mobileode fit``."""
import argparse

from .options import add_trust_option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Train a network on a folder of labelled images (COCO JSON, YOLO, VOC XML, class folders, '
                          'images and masks), judge it, and write a report.')
    parser.add_argument('data', help='the folder; nothing in it is changed')
    parser.add_argument('--work-dir', metavar='FOLDER',
                        help='what is made goes there (default: work_dirs/fit_<name of the data>)')
    parser.add_argument('--model', default='mobileode_v1', metavar='NAME',
                        help='backbone: mobileode_v1 (default), mobileode_v1_edge (for devices), mobileode_v2, '
                             'mobilenet_v1, mobilenet_v2')
    parser.add_argument('--from', dest='start', metavar='CHECKPOINT', help='start from the backbone of this checkpoint')
    parser.add_argument('--epochs', type=int, help='length of the training (default: by the number of images)')
    parser.add_argument('--batch-size', type=int, metavar='N', help='images of an iteration (default: by memory)')
    parser.add_argument('--size', type=int, metavar='PIXELS',
                        help="side of the network's input (default: by the images)")
    parser.add_argument('--seed', type=int, default=0, help='of the split, and of the training (default: 0)')
    parser.add_argument('--dry-run', action='store_true', help='do all but the training')
    parser.add_argument('--log-to', nargs='+', default=[], metavar='BACKEND',
                        help='also log to tensorboard, wandb or clearml')
    add_trust_option(parser)


def run(args: argparse.Namespace) -> None:
    """Train and judge."""
    from ..fit.fit import fit
    fit(args.data, args.work_dir, args.model, args.start, args.epochs, args.batch_size, args.size, args.seed,
        args.dry_run, args.log_to, args.trust_checkpoint)
