"""``mobileode test``."""
import argparse

from ..errors import BAD_INPUT
from .options import add_launcher_options, add_no_deploy, add_reading_options, add_steps, use_local_rank


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the log (default: ./work_dirs/<config>)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to this pickle')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='draw the predictions into images in this folder')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that a window stands (default: 2)')
    parser.add_argument('--tta', action='store_true',
                        help='average over several views of each image: tta_pipeline and tta_model of the config, else '
                        'with and without a flip')
    add_steps(parser)
    add_no_deploy(parser)
    add_reading_options(parser)
    add_launcher_options(parser)


def run(args: argparse.Namespace) -> int:
    """Test; returns the exit status."""
    from ..runs.processes import ReportedElsewhere
    from ..runs.testing import test
    use_local_rank(args)
    try:
        test(args.config, args.checkpoint, args.work_dir, args.out, args.show, args.show_dir, args.wait_time,
             args.cfg_options, args.launcher, args.trust_checkpoint, args.deploy, args.tta, args.steps)
    except ReportedElsewhere:
        return BAD_INPUT
    return 0
