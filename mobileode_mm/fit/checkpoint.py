"""The epoch whose checkpoint a fit ends with."""
import math
from collections.abc import Sequence
from pathlib import Path

from ..analysis.scalars import read_scalars
from ..data.formats import Image
from .plan import METRICS, Plan

#: By task: what its metric is a share of, where it counts boxes or images as found or not.
_WHOLE = dict(detection=1, classification=100)


def choose_checkpoint(plan: Plan, runs: Path, val: Sequence[Image]) -> Path:
    """The last epoch's where its validation cannot be told from the highest one, else that of the highest.

    A small validation is noisy, and its highest value is often that of a still large learning rate.

    Args:
        plan: To which the choice is added.
        runs: Work dir of the training.
        val: The images of the validation.
    """
    metric = METRICS[plan.task]
    values = {line['step']: line[metric] for line in read_scalars(runs).val}
    best, last = max(values, key=values.get), max(values)
    checkpoint = runs / f'epoch_{last}.pth'
    if last != best and plan.task in _WHOLE and checkpoint.is_file():
        counted, what = (len(val), 'images') if plan.task == 'classification' else (
            sum(len(image.boxes) for image in val), 'boxes')
        share = min(max(values[best] / _WHOLE[plan.task], 0), 1)
        error = _WHOLE[plan.task] * math.sqrt(share * (1 - share) / counted)
        if values[last] >= values[best] - error:
            plan.choose('checkpoint', f'epoch {last}, the last', f'{metric} on validation was {values[last]:.3g}, and '
                        f'{values[best]:.3g} after epoch {best}: of {counted} {what} that is no more than chance '
                        f'(standard error {error:.2g}), and the learning rate was larger then')
            return checkpoint
    plan.choose('checkpoint', f'epoch {best}', f'{metric} on validation was highest there, {values[best]:.3g}')
    return max(runs.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
