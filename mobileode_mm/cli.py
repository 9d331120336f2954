"""The commands ``mobileode-train`` and ``mobileode-test``."""
import argparse
import os
from collections.abc import Callable

from mmengine.config import DictAction

from .errors import BAD_INPUT, exit_status
from .memory import keep_freed_memory
from .runs.processes import ReportedElsewhere
from .runs.testing import test
from .runs.training import train


class Options(DictAction):
    """MMEngine's KEY=VALUE pairs; what is no pair is an error of usage, not a traceback."""

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            if '=' not in pair:
                parser.error(f'argument {option_string}: {pair!r} is not of the form KEY=VALUE')
        super().__call__(parser, namespace, values, option_string)


def train_main(argv: list[str] | None = None) -> int:
    """Train from the command line; returns the exit status."""
    parser = argparse.ArgumentParser('mobileode-train', description='Train a detector, a segmentor or a classifier.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of checkpoints, logs and pictures (default: ./work_dirs/<config>)')
    parser.add_argument('--resume', nargs='?', const=True, default=False, metavar='CHECKPOINT',
                        help='go on from this checkpoint; without a name, from the latest in the work dir')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate by the batch size')
    parser.add_argument('--load-backbone', metavar='CHECKPOINT',
                        help='start from the backbone of this checkpoint, whatever its task')
    _add_common(parser)
    args = _parse(parser, argv)
    return _run(lambda: train(args.config, args.work_dir, args.resume, args.amp, args.auto_scale_lr, args.load_backbone,
                              args.cfg_options, args.launcher, args.trust_checkpoint))


def test_main(argv: list[str] | None = None) -> int:
    """Test from the command line; returns the exit status."""
    parser = argparse.ArgumentParser('mobileode-test', description='Evaluate a checkpoint on the test data.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the log (default: ./work_dirs/<config>)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions to this pickle')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', help='draw the predictions into pictures in this folder')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that a window stands (default: 2)')
    _add_common(parser)
    args = _parse(parser, argv)
    return _run(lambda: test(args.config, args.checkpoint, args.work_dir, args.out, args.show, args.show_dir,
                             args.wait_time, args.cfg_options, args.launcher, args.trust_checkpoint))


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags on how a config and a checkpoint are read: ``--cfg-options`` and ``--trust-checkpoint``."""
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE',
                        help='replace settings of the config, as in data_root=/data/coco train_cfg.max_epochs=3 '
                        'key="[a,b]"')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='read checkpoints that can run code when they are read')


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_reading_options(parser)
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
                        help='who started the processes (default: none)')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def _parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def _run(command: Callable) -> int:
    keep_freed_memory()

    def run() -> int:
        try:
            command()
        except ReportedElsewhere:
            return BAD_INPUT
        return 0

    return exit_status(run)
