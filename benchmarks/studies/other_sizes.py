"""Top-1 of a suite's classifiers on images of other sizes than they were trained at.

``python -m benchmarks.studies.other_sizes`` after ``mobileode suite transfer``.
"""
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mobileode_mm.deploy.accuracy import accuracy
from mobileode_mm.deploy.exporting import deployed_copy
from mobileode_mm.deploy.formats import run_of
from mobileode_mm.deploy.inputs import Images
from mobileode_mm.deploy.tasks import TASKS
from mobileode_mm.errors import InputError, exit_status

from ..machine import commit, describe_machine
from ..output import mean_and_each, page_and_mark, put_into_page, table
from .trained import done_runs, inferencer_of

TASK, METRIC = 'classification', 'accuracy/top1'
SIDES = (48, 56, 64, 72, 80, 96)
_MARK = 'other-sizes'


def measure(folder: Path, sides: Sequence[int] = SIDES) -> list[dict]:
    """For each classifier of a suite ``backbone``, ``seed`` and, for each side in pixels, ``top1`` in per cent.

    Test images are resized bilinearly, and the solvers' grids with them.

    Raises:
        InputError: The folder holds no suite, or no classifier of it that is done.
    """
    runs = [run for run in done_runs(folder, 'transfer') if run['task'] == TASK]
    if not runs:
        raise InputError(f'{folder} holds no run of {TASK} that is done')
    found = []
    for run in runs:
        inferencer = inferencer_of(folder / run['folder'])
        images, top1 = Images(inferencer, 'test'), []
        for side in sides:
            whole = TASKS[TASK][-1](deployed_copy(inferencer.model, (side, side)), inferencer.takes_rgb).eval()
            top1.append(accuracy(inferencer, run_of(whole), images, (side, side))[METRIC])
        found.append(dict(backbone=run['backbone'], seed=run['seed'], top1=top1))
    return found


def markdown(content: dict) -> str:
    """One row a backbone: the mean over its seeds, with each in brackets."""
    rows = []
    for backbone in dict.fromkeys(run['backbone'] for run in content['runs']):
        columns = zip(*(run['top1'] for run in content['runs'] if run['backbone'] == backbone))
        rows.append([backbone, *map(mean_and_each, columns)])
    return (table(['top-1, %', *(f'{side} px' for side in content['sides'])], rows)
            + f'\n\nMean, and each seed. Commit {content["commit"]}; {content["machine"]}.')


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/suites/transfer'), help='folder of the suite')
    parser.add_argument('--sides', type=int, nargs='+', default=SIDES, help='of the images, in pixels')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the table into this page, between its marks of this name (default: {_MARK})')
    args = parser.parse_args()

    def work() -> None:
        page, mark = page_and_mark(args.page, _MARK)
        content = dict(sides=list(args.sides), machine=describe_machine(), commit=commit(),
                       runs=measure(args.work_dir, args.sides))
        text = markdown(content)
        print(text)
        if page:
            put_into_page(page, mark, content, text)

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
