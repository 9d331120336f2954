"""The epoch whose checkpoint a fit ends with."""
import math
from collections.abc import Sequence
from pathlib import Path

from ..analysis.scalars import read_scalars
from ..data.formats import Image
from .plan import METRICS, Plan

#: What the metrics that count boxes or images as found or not are shares of.
_WHOLE = {'coco/bbox_mAP_50': 1, 'accuracy/top1': 100}


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
    seen = f'{metric} on validation was highest there, {values[best]:.3g}'
    if metric in _WHOLE:
        counted, what = (sum(len(image.boxes) for image in val), 'boxes') if plan.task == 'detection' else (
            len(val), 'images')
        share = min(max(values[best] / _WHOLE[metric], 0), 1)
        error = _WHOLE[metric] * math.sqrt(share * (1 - share) / counted)
        checkpoint = runs / f'epoch_{last}.pth'
        if last != best and values[last] >= values[best] - error and checkpoint.is_file():
            plan.choose('checkpoint', f'epoch {last}, the last', f'{metric} on validation was {values[last]:.3g}, and '
                        f'{values[best]:.3g} after epoch {best}: of {counted} {what} that is no more than chance '
                        f'(standard error {error:.2g}), and the learning rate was larger then')
            return checkpoint
    plan.choose('checkpoint', f'epoch {best}', seen)
    return max(runs.glob('best_*.pth'), key=lambda path: path.stat().st_mtime)
