"""What goes on inside a trained network, drawn; the command ``look-inside``."""
import argparse
from pathlib import Path

import torch
from mmengine.dataset import pseudo_collate

from mobileode_mm.analysis.inside import plot_feature_maps, plot_steps, plot_trajectory
from mobileode_mm.commands.options import add_reading_options
from mobileode_mm.errors import InputError
from mobileode_mm.inference.inferencer import Inferencer
from mobileode_mm.runs.checks import check_new, check_writable


def image_inputs(inferencer: Inferencer, path: str | Path) -> torch.Tensor:
    """An image as the backbone takes it, (1, 3, h, w).

    Raises:
        InputError: It cannot be read.
    """
    data = pseudo_collate([inferencer.prepare(inferencer.read_or_refuse(path))])
    return inferencer.model.data_preprocessor(data, False)['inputs']


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = 'Draw what goes on inside a trained network.'
    kinds = parser.add_subparsers(dest='what', required=True)
    steps = kinds.add_parser('steps', help='learned step lengths of every solver')
    trajectory = kinds.add_parser('trajectory', help="a position's channels over the steps of a solver")
    features = kinds.add_parser('features', help='feature maps of each stage')
    for kind in (steps, trajectory, features):
        kind.add_argument('config', help='config file')
        kind.add_argument('checkpoint', help='checkpoint of a training, or a published file')
        if kind is not steps:
            kind.add_argument('image', help='image file')
        kind.add_argument('--out', required=True, metavar='FILE.png', help='one that exists is left alone')
        add_reading_options(kind)
    trajectory.add_argument('--solver', help='its name, as in backbone.stage4.3.project.solver (default: the last)')
    trajectory.add_argument('--position', type=int, nargs=2, metavar=('ROW', 'COLUMN'),
                            help='on the map that the solver is given (default: where that is largest)')


def run(args: argparse.Namespace) -> None:
    """Draw one of the three."""
    out = Path(args.out).expanduser()
    if out.suffix != '.png':
        raise InputError(f'--out {out}: the name must end in .png')
    check_new(str(out), '--out')
    check_writable(str(out.parent), 'folder', '--out')
    inferencer = Inferencer(args.config, args.checkpoint, 'cpu', args.trust_checkpoint, args.cfg_options,
                            deploy=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.what == 'steps':
        plot_steps(inferencer.model, out)
    else:
        inputs = image_inputs(inferencer, args.image)
        if args.what == 'features':
            plot_feature_maps(inferencer.model, inputs, out)
        else:
            plot_trajectory(inferencer.model, inputs, out, args.solver, args.position)
    print(out)
