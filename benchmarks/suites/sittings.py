"""Runs that are taken from the results of other sittings: of other machines, or of another suite with the same runs."""
from collections.abc import Sequence
from pathlib import Path

from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import InputError
from mobileode_mm.runs.config import short_path

from .run import DIVERGED, DONE, Run

#: What came of a run that is not run again.
ENDED = DONE, DIVERGED


def taken_over(runs: Sequence[Run], files: Sequence[str | Path]) -> dict[Run, dict]:
    """The entries of ``results.json`` files for those of the runs that have ended there; of the last file that has it.

    Raises:
        InputError: A file cannot be read, none of its runs is among these, or one has other settings here.
    """
    by_key = {(run.network.task, run.network.backbone, run.seed): run for run in runs}
    taken = {}
    for path in map(Path, files):
        try:
            entries = [(by_key.get((entry['task'], entry['backbone'], entry['seed'])), entry)
                       for entry in read_json(path)['runs'] if entry['status'] in ENDED]
        except (KeyError, TypeError) as error:
            raise InputError(f'--earlier {path}: it holds no results of a suite (no {error})') from error
        own = {run: entry for run, entry in entries if run}
        if not own:
            raise InputError(f'--earlier {path}: none of its runs that have ended is one of this suite')
        for run, entry in own.items():
            if entry.get('identity') != run.settings()['identity']:
                what = 'was written before runs told their settings' if 'identity' not in entry else (
                    f'has other settings than {short_path(run.network.config)} and the suite now say')
                raise InputError(f'--earlier {path}: {run.name} {what}; it is to be run again')
        taken.update(own)
    return taken
