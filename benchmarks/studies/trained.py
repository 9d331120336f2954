"""Networks that a suite has trained."""
from pathlib import Path

from mobileode_mm.checkpoints.resuming import find_resume_checkpoint
from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import InputError
from mobileode_mm.inference.inferencer import Inferencer

from ..suites.run import DONE
from ..suites.worker import SETTINGS


def done_runs(folder: Path, suite: str) -> list[dict]:
    """What a suite's folder tells of its runs that are done.

    Raises:
        InputError: There are no results.
    """
    if not (folder / 'results.json').is_file():
        raise InputError(f'{folder} holds no results.json; first: mobileode suite {suite}')
    return [run for run in read_json(folder / 'results.json')['runs'] if run['status'] == DONE]


def inferencer_of(folder: Path) -> Inferencer:
    """The network of a run's folder, in its trained form on the CPU."""
    settings, (checkpoint, _) = read_json(folder / SETTINGS), find_resume_checkpoint(folder)
    return Inferencer(settings['config'], checkpoint, 'cpu', cfg_options=settings['cfg_options'], deploy=False)
