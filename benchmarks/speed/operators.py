"""Where the time of ONNX files goes in onnxruntime, by kind of operator; the command ``bench-operators``."""
import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from mobileode_mm.deploy import export
from mobileode_mm.deploy.formats import session_options
from mobileode_mm.errors import InputError

from ..machine import describe_machine
from ..output import page_and_mark, put_into_page, table
from .untrained import untrained_checkpoint

#: Calls of each file before those that count.
_WARM_UP = 3
_MARK = 'operators'


def time_operators(files: Mapping[str, Path], calls: int, threads: int = 1) -> dict[str, dict[str, tuple[int, float]]]:
    """Profile files, one call of each in turn.

    Args:
        files: ONNX file by name, with our operator where its library lies beside it; images are of the size that it
            takes.
        calls: How often each is run.
        threads: Of onnxruntime.

    Returns:
        For each file, by kind of operator: how many of them a call runs after onnxruntime's own fusions, and their
        milliseconds together, the median over the calls.
    """
    import onnxruntime
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for number, (name, path) in enumerate(files.items()):
            options = session_options(threads)
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder, str(number)))
            if library_of(path).is_file():
                options.register_custom_ops_library(str(library_of(path).resolve()))
            session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
            image = rng.integers(0, 256, session.get_inputs()[0].shape, np.uint8)
            sessions[name] = session, image
        for _ in range(_WARM_UP + calls):
            for session, image in sessions.values():
                session.run(None, {'image': image})
        return {name: _by_kind(Path(session.end_profiling()), calls) for name, (session, _) in sessions.items()}


def library_of(path: Path) -> Path:
    """The library that ``--custom-ops`` writes beside ``NAME.ops.onnx``."""
    return path.with_suffix('.so')


def _by_kind(profile: Path, calls: int) -> dict[str, tuple[int, float]]:
    runs: list[dict[str, list[int]]] = []
    for event in sorted(json.loads(profile.read_text()), key=lambda event: event['ts']):
        if event['name'] == 'model_run':
            runs.append(defaultdict(list))
        elif event['cat'] == 'Node' and event['name'].endswith('_kernel_time'):
            # The event of a run begins before those of its operators.
            runs[-1][event['args']['op_name']].append(event['dur'])
    runs = runs[-calls:]
    return {kind: (len(durations), median(sum(run[kind]) for run in runs) / 1000)
            for kind, durations in runs[-1].items()}


def markdown(results: dict) -> str:
    """A row a kind of operator, the longest first; number and milliseconds for each file, the sums behind."""
    found = results['found']
    kinds = sorted({kind for one in found.values() for kind in one},
                   key=lambda kind: -max(one.get(kind, (0, 0.))[1] for one in found.values()))
    rows = []
    for kind in kinds:
        cells = [one.get(kind) for one in found.values()]
        rows.append([f'`{kind}`', *('–' if cell is None else f'{cell[0]}: {cell[1]:.2f}' for cell in cells)])
    sums = [(sum(count for count, _ in one.values()), sum(ms for _, ms in one.values())) for one in found.values()]
    rows += [['all', *(f'{count}: {ms:.2f}' for count, ms in sums)],
             ['over the last', *(f'{ms / sums[-1][1]:.2f}' for _, ms in sums)]]
    return f'{table(["operator", *found], rows)}\n\n{results["note"]}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Print how many operators of each kind onnxruntime runs for an image, and the milliseconds '
                          'that they take together: of ONNX files of a fixed size, or of networks with random weights, '
                          'which are exported.')
    parser.add_argument('networks', nargs='+', metavar='FILE|CONFIG',
                        help='ONNX files (of --custom-ops with the library beside them), configs; the others are '
                        'divided by the last')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'),
                        help='of the images, where the configs do not say it')
    parser.add_argument('--calls', type=int, default=50, help='of each file, in turn (default: 50)')
    parser.add_argument('--threads', type=int, default=1, help='of onnxruntime (default: 1)')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the table into this page, between its marks of this name (default: {_MARK})')


def run(args: argparse.Namespace) -> None:
    """Export, profile and print."""
    page, mark = page_and_mark(args.page, _MARK)
    results = measured(args.networks, args.size, args.calls, args.threads)
    text = markdown(results)
    print(text)
    if page:
        put_into_page(page, mark, results, text)


def measured(networks: Sequence[str], size: Sequence[int] | None, calls: int, threads: int) -> dict:
    """What :func:`time_operators` ``found``, and a ``note`` on what it was measured on."""
    with tempfile.TemporaryDirectory() as folder:
        files = {Path(name).stem: _file(Path(name), Path(folder), size) for name in networks}
        found = time_operators(files, calls, threads)
    note = (f'Number of operators of one image after onnxruntime\'s fusions, and their milliseconds together: medians '
            f'of {calls} calls, the files in turn, with the profiler on; onnxruntime {version("onnxruntime")}, '
            f'{threads} of its threads; {describe_machine()}.')
    return dict(found=found, note=note)


def _file(path: Path, folder: Path, size: Sequence[int] | None) -> Path:
    """The file itself, or that of a config's network with random weights."""
    if path.suffix != '.py':
        if not path.is_file():
            raise InputError(f'there is no file {path}')
        return path
    checkpoint, size = untrained_checkpoint(path, folder, size)
    return export(path, checkpoint, folder / f'{path.stem}.onnx', size=size).path
