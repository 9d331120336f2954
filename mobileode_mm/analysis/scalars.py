"""The scalars that training runs leave in a work dir."""
import json
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError

# What is shown where there is room for one number, best known first.
_HEADLINES = ('bbox_mAP', 'segm_mAP', 'mAP', 'mIoU', 'top1')
# Logged beside losses and metrics.
BOOKKEEPING = ('iter', 'epoch', 'step', 'time', 'data_time', 'memory')


class Scalars(NamedTuple):
    """What was logged, in order.

    Attributes:
        train: One dict per logged iteration: ``step`` (iterations done) and every scalar by its name.
        val: One dict per evaluation: ``step`` (epochs or iterations done) and every metric by its name.
        val_unit: What ``step`` counts in ``val``: ``'epoch'`` or ``'iteration'``.
    """
    train: list[dict]
    val: list[dict]
    val_unit: str


def headline_metric(metrics: dict) -> str | None:
    """Name the one metric that stands for the others, None where there is no scalar metric.

    That is the box AP, the mean IoU or the top-1 accuracy where reported, else the first that the evaluator
    named.
    """
    names = [name for name, value in metrics.items() if isinstance(value, Real) and name not in BOOKKEEPING]
    for headline in _HEADLINES:
        for name in names:
            if name.split('/')[-1] == headline:
                return name
    return names[0] if names else None


def read_scalars(work_dir: str | Path) -> Scalars:
    """Read all ``*/vis_data/scalars.json`` that LocalVisBackend wrote below a work dir.

    A resumed run has a folder of its own. From the first iteration that it logged on, it replaces what the
    runs before it had logged, and a validation that it repeated replaces the earlier one. Of a resumed run that had
    nothing left to train, that validation counts; an evaluation of its own, which is of step 0, is left out.

    Raises:
        InputError: There is no logged training, or a file is damaged. A last line cut short by a kill is no
            damage.
    """
    train, val, epochs = [], [], False
    # The folders are named by the time of their start, so that the order of names is the order of runs.
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        records = _read(path)
        start = next((record['step'] for record in records if 'iter' in record), None)
        if start is None:
            records = [record for record in records if train and record.get('step')]
            start = train[-1]['step'] + 1 if train else 0
        train = [record for record in train if record['step'] < start]
        val = [record for record in val if record['after'] < start]
        iteration = start - 1
        for record in records:
            if 'iter' in record:
                iteration = record['step']
                epochs = 'epoch' in record
                train.append(record)
            else:
                # An iteration-based run whose LoggerHook counts metrics by epoch has epoch 0 throughout.
                val.append({**record, 'step': record['step'] or iteration, 'after': iteration})
    if not train:
        raise InputError(
            f'No logged training below {work_dir}: no */vis_data/scalars.json there holds a training '
            'iteration. Give the work dir of a run that trained with LocalVisBackend.')
    val = list({record['step']: {name: value for name, value in record.items() if name != 'after'}
                for record in val}.values())
    return Scalars(train, val, 'epoch' if epochs else 'iteration')


def _read(path: Path) -> list[dict]:
    lines = path.read_text().splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise InputError(
                    f'{path}, line {number} is no JSON ({error}). Move the damaged file away.') from error
            continue
        # LogProcessor(log_with_hierarchy=True) puts the mode before each name.
        records.append({
            name.removeprefix('train/').removeprefix('val/'): value for name, value in record.items()})
    return records
