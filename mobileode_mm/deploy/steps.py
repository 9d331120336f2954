"""The fastest steps of a network with ``anytime`` that lose no more than is allowed."""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..analysis.scalars import headline_metric
from ..backbones import anytime_backbones
from ..errors import InputError
from ..inference.inferencer import Inferencer
from ..runs.checks import config_scope
from .accuracy import accuracy
from .formats import Run, load, run_of, write
from .inputs import Images
from .tasks import Task

_ROUNDS = 30

#: One number for each stage with solvers.
Steps = tuple[int, ...]


class Trial(NamedTuple):
    """A choice that was measured.

    Attributes:
        steps: The choice.
        points: Its metric.
        is_kept: Whether it loses little enough.
    """
    steps: Steps
    points: float
    is_kept: bool


def choose_steps(inferencer: Inferencer, make: Callable[[], Task], example: Tensor, dynamic: str, image: np.ndarray,
                 size: tuple[int, int] | None, max_drop: float) -> list[str]:
    """Let a network take the fastest steps whose metric on the validation data is little enough under the best.

    What a number of steps saves in a stage is measured in onnxruntime, the largest number being in all other stages;
    :func:`search` goes by that.

    Args:
        inferencer: The network's, as it was trained; it takes the steps that are found.
        make: Makes the task around a file's form of the network with the steps that it takes now.
        example, dynamic: As for :func:`write`.
        image: (1, H, W, 3), uint8, RGB: what is timed.
        size: Height and width of the files' images; None takes any.
        max_drop: In points, of the metric that stands for the others.

    Returns:
        Lines of a table, for people.

    Raises:
        InputError: The network has one number of steps, or there are no validation data.
    """
    backbones, config = anytime_backbones(inferencer.model), inferencer.cfg.filename
    if not backbones:
        raise InputError(f'--max-drop: the backbone of {config} has one number of steps; only networks that are '
                         'trained with anytime=dict(steps=...) leave a choice')
    try:
        images = Images(inferencer, 'val')
    except FileNotFoundError as error:
        raise InputError(f'--max-drop is measured on the validation data: {error}') from error
    backbone, = backbones
    legal, stages = backbone.anytime.steps, len(backbone.with_solver)
    largest = (legal[-1], ) * stages
    names: list[str] = []
    runs: dict[Steps, Run] = {}

    def points(steps: Steps) -> float:
        backbone.set_steps(steps)
        metrics = accuracy(inferencer, run_of(make()), images, size, split='val')
        names.append(headline_metric(metrics) or '')
        return metrics[names[-1]] * (100 if inferencer.task == 'detection' else 1)  # AP is a share

    def times(choices: Collection[Steps]) -> dict[Steps, float]:
        with tempfile.TemporaryDirectory() as folder:
            for steps in choices:
                if steps not in runs:
                    backbone.set_steps(steps)
                    path = Path(folder, 'network.onnx')
                    write(make(), example, dynamic, 'onnx', path, {})
                    runs[steps] = load(path, 'onnx')
        return _milliseconds({steps: runs[steps] for steps in choices}, image)

    with config_scope(inferencer.cfg):
        alone = {(stage, number): _changed(largest, stage, number) for stage in range(stages) for number in legal}
        measured = times(dict.fromkeys(alone.values()))
        trials = search(legal, largest, {key: measured[steps] for key, steps in alone.items()}, points, max_drop)
        chosen = [trial.steps for trial in trials if trial.is_kept][-1]
        final = times(dict.fromkeys((largest, chosen)))
    backbone.set_steps(chosen)
    best = trials[0].points
    lines = [f'{"steps":<{3 * stages}} {names[0]:>16} {"drop":>7}']
    lines += [f'{_text(steps):<{3 * stages}} {found:>16.2f} {best - found:>7.2f}  '
              f'{"kept" if is_kept else "loses too much"}' for steps, found, is_kept in trials]
    return [*lines, f'steps {_text(chosen)}: {final[chosen]:.2f} ms in onnxruntime; steps {_text(largest)}: '
            f'{final[largest]:.2f} ms ({len(images)} images of the validation data, at most {max_drop:g} points lost)']


def search(legal: Steps, start: Steps, times: dict[tuple[int, int], float], points: Callable[[Steps], float],
           max_drop: float) -> list[Trial]:
    """Take fewer steps, stage by stage, as long as that is faster and loses little enough.

    Of the next smaller number in each stage, that which saves most is tried first. A stage whose smaller number loses
    too much keeps the number that it has.

    Args:
        legal: Numbers that a stage may take, rising.
        start: One for each stage.
        times: By stage and number, of the network that differs from ``start`` in that stage alone.
        points: The metric of a choice.
        max_drop: How far it may be under that of ``start``.

    Returns:
        What was measured, the start first. The last one that is kept is the choice.
    """
    trials = [Trial(start, points(start), True)]
    taken, stages = start, set(range(len(start)))

    def smaller(stage: int) -> int:
        return legal[max(0, legal.index(taken[stage]) - 1)]

    def saved(stage: int) -> float:
        return times[stage, taken[stage]] - times[stage, smaller(stage)]

    while stages and saved(stage := max(stages, key=saved)) > 0:
        steps = _changed(taken, stage, smaller(stage))
        found = points(steps)
        is_kept = trials[0].points - found <= max_drop
        trials.append(Trial(steps, found, is_kept))
        if is_kept:
            taken = steps
        else:
            stages.remove(stage)
    return trials


def _changed(steps: Steps, stage: int, number: int) -> Steps:
    return (*steps[:stage], number, *steps[stage + 1:])


def _milliseconds(runs: dict[Steps, Run], image: np.ndarray) -> dict[Steps, float]:
    """Median time of each, all in turn in each round."""
    samples: dict[Steps, list[float]] = {steps: [] for steps in runs}
    for _ in range(_ROUNDS):
        for steps, run in runs.items():
            run(image)  # brings back the caches that the one before has filled
            begin = perf_counter()
            run(image)
            samples[steps].append(1000 * (perf_counter() - begin))
    return {steps: median(values) for steps, values in samples.items()}


def _text(steps: Steps) -> str:
    return ','.join(map(str, steps))
