"""Accuracy and time of anytime checkpoints, number by number of steps, beside networks for one number alone.

``python -m benchmarks.studies.anytime`` after ``mobileode suite anytime``.
"""

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev

import torch

from mobileode_mm.analysis.scalars import headline_metric
from mobileode_mm.deploy.accuracy import accuracy
from mobileode_mm.deploy.exporting import deployed_copy, file_copy
from mobileode_mm.deploy.formats import load, needed, run_of, write
from mobileode_mm.deploy.inputs import Images, fixed_size, preparation
from mobileode_mm.deploy.tasks import TASKS, Task
from mobileode_mm.deploy.tiles import tiles_of
from mobileode_mm.errors import InputError, exit_status
from mobileode_mm.runs.checks import config_scope

from ..machine import describe_machine
from ..output import number, page_and_mark, put_into_page, table, write_json
from ..speed.sampling import quartiles, sample_in_turn
from .trained import done_runs, inferencer_of

#: Names of backbones in the suite: the one for all numbers, and that for a number alone.
ANYTIME, ALONE = 'V1 anytime', 'V1, L = {}'
#: Beside the suite's results: what was measured.
CURVE = 'curve.json'
#: Of the table on a page.
_MARK = 'anytime-curve'
ROUNDS = 30


class Trained:
    """A network that a suite has trained for several numbers of steps, on images of one size.

    Args:
        folder: Of its run.
    """

    def __init__(self, folder: Path):
        self.inferencer = inferencer_of(folder)
        cfg = self.inferencer.cfg
        self.numbers = tuple(cfg.model.backbone.anytime.steps)
        tiles = tiles_of(cfg)
        self.size = ((tiles['size'], ) * 2 if tiles else
                     fixed_size(preparation(cfg), None, cfg.model.backbone.get('input_size'))[1])
        self.images = Images(self.inferencer, 'test')

    def task(self, steps: int, form=deployed_copy) -> Task:
        """The whole task around the network in its deploy form, or in that of files, with so many steps."""
        self.inferencer.model.set_steps(steps)
        return TASKS[self.inferencer.task][-1](form(self.inferencer.model, self.size), self.inferencer.takes_rgb).eval()

    def metric(self, steps: int, name: str) -> float:
        """A metric on the test data, in per cent."""
        found = accuracy(self.inferencer, run_of(self.task(steps)), self.images, self.size)[name]
        return 100 * found if self.inferencer.task == 'detection' else found

    def milliseconds(self) -> dict[str, float]:
        """Median time of an image by ``'torch L'`` and ``'onnx L'``, all measured in turn."""
        image, runs = self.images.sized(self.images[0][0], self.size)[0][None], {}
        with config_scope(self.inferencer.cfg), tempfile.TemporaryDirectory() as folder:
            for steps in self.numbers:
                path = Path(folder, f'{steps}.onnx')
                write(self.task(steps, file_copy), torch.from_numpy(image), 'none', 'onnx', path, {})
                runs[f'onnx {steps}'] = load(path, 'onnx', torch.get_num_threads())
                runs[f'torch {steps}'] = run_of(self.task(steps))
            samples = sample_in_turn({name: lambda run=run: run(image) for name, run in runs.items()}, ROUNDS)
        return {name: quartiles(values)[1] for name, values in samples.items()}


def measure(folder: Path) -> list[dict]:
    """Every number of steps of each task of a suite: ``task``, ``steps``, ``metric``, its values of the seeds for the
    ``anytime`` checkpoints and for networks of that number ``alone``, and milliseconds in ``torch`` and ``onnx``.

    Raises:
        InputError: The folder holds no such suite, or no run of it that is done.
    """
    runs = done_runs(folder, 'anytime')
    ours = [run for run in runs if run['backbone'] == ANYTIME]
    if not ours:
        raise InputError(f'{folder} holds no run of {ANYTIME} that is done; first: mobileode suite anytime')
    rows = []
    for task in dict.fromkeys(run['task'] for run in ours):
        networks = [Trained(folder / run['folder']) for run in ours if run['task'] == task]
        name = headline_metric(next(run['metrics'] for run in ours if run['task'] == task))
        times = networks[0].milliseconds()
        for steps in networks[0].numbers:
            alone = [run['metrics'][name] * (100 if networks[0].inferencer.task == 'detection' else 1) for run in runs
                     if (run['task'], run['backbone']) == (task, ALONE.format(steps))]
            rows.append(dict(task=task, steps=steps, metric=name, alone=alone,
                             anytime=[network.metric(steps, name) for network in networks],
                             torch=times[f'torch {steps}'], onnx=times[f'onnx {steps}']))
    return rows


def markdown(curve: dict) -> str:
    """The table of what :func:`main` writes, and what it was measured on."""
    body = []
    for row in curve['rows']:
        gap = f'{mean(row["anytime"]) - mean(row["alone"]):+.1f}' if row['alone'] else '–'
        body.append([row['task'], row['metric'], str(row['steps']), _spread(row['anytime']), _spread(row['alone']), gap,
                     number(row['torch']), number(row['onnx'])])
    head = ['task', 'metric, %', 'L', 'anytime', 'alone', 'difference', 'ms, PyTorch', 'ms, onnxruntime']
    return (f'{table(head, body)}\n\nMean ± sample standard deviation over the seeds. {curve["machine"]}; '
            f'{curve["threads"]} threads each of PyTorch (deploy form) and onnxruntime, float32, one image, or tile of '
            f'one, median of {ROUNDS} rounds in which all were measured in turn.')


def _spread(values: list[float]) -> str:
    """Mean and, of two or more, sample standard deviation."""
    if not values:
        return '–'
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/suites/anytime'), help='folder of the suite')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the table into this page, between its marks of this name (default: {_MARK})')
    args = parser.parse_args()

    def work() -> None:
        page, mark = page_and_mark(args.page, _MARK)
        needed('onnx', False)
        rows, machine = measure(args.work_dir), f'{describe_machine()}, onnxruntime {version("onnxruntime")}'
        curve = dict(machine=machine, threads=torch.get_num_threads(), rows=rows)
        write_json(args.work_dir / CURVE, curve)
        text = markdown(curve)
        print(text)
        if page:
            put_into_page(page, mark, curve, text)

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
