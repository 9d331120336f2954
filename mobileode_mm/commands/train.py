"""``mobileode train``."""
import argparse

from ..errors import BAD_INPUT
from .options import add_launcher_options, add_reading_options, use_local_rank


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of checkpoints, logs and images (default: ./work_dirs/<config>)')
    parser.add_argument('--resume', nargs='?', const=True, default=False, metavar='CHECKPOINT',
                        help='go on from this checkpoint; without a name, from the latest in the work dir')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size')
    parser.add_argument('--load-backbone', metavar='CHECKPOINT',
                        help='start from the backbone of this checkpoint, whatever its task')
    parser.add_argument('--int8-from', metavar='CHECKPOINT',
                        help='quantisation-aware: two epochs from these weights, in which maps and weights are rounded '
                        'as in int8; export its checkpoint with --int8')
    add_reading_options(parser)
    add_launcher_options(parser)


def run(args: argparse.Namespace) -> int:
    """Train; returns the exit status."""
    from ..runs.processes import ReportedElsewhere
    from ..runs.training import train
    use_local_rank(args)
    try:
        train(args.config, args.work_dir, args.resume, args.amp, args.auto_scale_lr, args.load_backbone,
              args.cfg_options, args.launcher, args.trust_checkpoint, args.int8_from)
    except ReportedElsewhere:
        return BAD_INPUT
    return 0
