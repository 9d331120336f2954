"""From which map on a file's solver is a grouped convolution and no product of matrices; ``bench-layouts``."""

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from mobileode_mm.backbones.mobileode import SolverModule
from mobileode_mm.deploy.formats import OPSET, needed, quiet
from mobileode_mm.errors import InputError
from mobileode_mm.ode import ExportedODESolver
from mobileode_mm.ode.exported import MATRICES_UP_TO

from ..machine import describe_machine
from ..output import number, table
from .sampling import quartiles, sample_in_turn

#: Side of the matrices and of the map: V1's stages at 320, 192 and 96 px.
SHAPES = ((12, 80), (12, 48), (16, 40), (16, 24), (24, 20), (24, 12), (24, 10), (24, 6))
#: Each form by the numbers of a map up to which it takes matrices.
FORMS = {'convolution': 0, 'matrices': 2**62}


@torch.no_grad()
def time_layouts(threads: int, rounds: int) -> list[list[str]]:
    """Rows of the table: one block's second half (solver of three steps, norm, ReLU6, sum), float32, one image."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    rows = []
    for side, size in SHAPES:
        x = torch.randn(1, side**2, size, size)
        calls = {}
        for name, limit in FORMS.items():
            block = SolverModule(side**2, side**2, dict(grid_size=size), dict(type='BN')).eval()
            block.fold_into_solver({block.solver: (size, size)})
            block.solver = ExportedODESolver(block.solver, limit)
            with tempfile.TemporaryDirectory() as folder, quiet():
                path = str(Path(folder, 'block.onnx'))
                torch.onnx.export(torch.export.export(block, (x, x)), opset_version=OPSET, dynamo=True,
                                  input_names=['x', 'residual'], external_data=False).save(path)
                session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
            feed = {entry.name: x.numpy() for entry in session.get_inputs()}
            calls[name] = lambda session=session, feed=feed: session.run(None, feed)
        medians = {name: quartiles(samples)[1] for name, samples in sample_in_turn(calls, rounds).items()}
        chosen = 'matrices' if side**2 * size**2 <= MATRICES_UP_TO else 'convolution'
        rows.append([str(side**2), f'{size}×{size}', f'{side**2 * size**2:,}', *map(number, medians.values()),
                     number(medians['matrices'] / medians['convolution']), chosen])
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.add_argument('--threads', type=int, default=1, help='of onnxruntime (default: 1)')
    parser.add_argument('--rounds', type=int, default=15, help='samples of each form (default: 15)')


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    if min(args.threads, args.rounds) < 1:
        raise InputError('--threads and --rounds are numbers of 1 or more')
    needed('onnx', False)
    head = ['channels', 'map', 'numbers', 'convolution, ms', 'matrices, ms', 'matrices ÷ convolution', 'taken']
    rows = time_layouts(args.threads, args.rounds)
    print(f'- {describe_machine(torch.device("cpu"))}, onnxruntime {version("onnxruntime")}\n'
          f'- {args.threads} threads of onnxruntime, {args.rounds} rounds, medians\n\n{table(head, rows)}')
