"""A folder that appears under its name only when it is finished."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from ..errors import InputError


@contextlib.contextmanager
def finished_folder(out):
    """Give a hidden folder beside ``out`` to fill; when the block ends well it becomes ``out``.

    Whatever ends the block early, SIGKILL included, nothing appears at ``out``. What a killed run left behind
    is removed by the next; a run still at work is left alone.

    Args:
        out (Path): absolute, without symbolic links; must not exist, or be an empty folder.

    Yields:
        Path: the folder to fill, on the same file system.

    Raises:
        InputError: the files cannot be written, or ``out`` came to be meanwhile.
    """
    prefix = f'.{out.name}.unfinished-'
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(out.parent, prefix)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
    except OSError as error:
        raise InputError(f'cannot make {out}: {out.parent} is no folder that can be written to '
                         f'({error.strerror}); choose another place') from error
    try:
        with open(work / 'lock', 'w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = work / 'data'
            data.mkdir()
            yield data
            os.rename(data, out)
    except OSError as error:
        raise InputError(f'cannot finish {out} ({error.strerror}); nothing there was changed') from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_leftovers(parent, prefix):
    for folder in parent.iterdir():
        # The lock file marks our leftovers, and is released with the process that held it.
        if not folder.name.startswith(prefix) or not (folder / 'lock').is_file():
            continue
        with open(folder / 'lock') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder)
