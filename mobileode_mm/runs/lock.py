"""One training at a time in a work dir."""
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmengine.dist import get_rank

from ..errors import InputError
from .processes import once_per_machine

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = '.lock'


@contextmanager
def only_training(work_dir: str | Path) -> Iterator[None]:
    """Hold a work dir for this run, whose first process makes the folder where it is missing.

    Raises:
        InputError: Another training holds it; in all processes, as :func:`once_per_machine` has it.
    """
    files: list[IO] = []
    once_per_machine(lambda: files.append(_held(Path(work_dir))) if get_rank() == 0 else None)
    try:
        yield
    finally:
        for file in files:
            file.close()


def _held(folder: Path) -> IO:
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / NAME, 'w')  # noqa: SIM115
    if fcntl is not None:
        try:
            # Not flock, which the workers of data loaders inherit: they outlive a killed run by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise InputError(f'another training is at work in {folder}, and the two would overwrite each other: wait '
                             'for its end, or choose another --work-dir') from error
        except OSError:  # a file system without locks
            pass
    return file
