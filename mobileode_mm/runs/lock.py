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
def only_training(work_dir: str | Path, make: bool = True) -> Iterator[None]:
    """Hold a work dir for this run. May be called again inside.

    Args:
        work_dir: The folder.
        make: Make folder and lock where they are missing. Without this, what is not there is not held: no training
            has been there.

    Raises:
        InputError: Another training holds it, or it cannot be written; in all processes, as :func:`once_per_machine`
            has it.
    """
    files: list[IO] = []

    def hold() -> None:
        if get_rank() == 0:
            try:
                if make:
                    Path(work_dir).mkdir(parents=True, exist_ok=True)
                files.append(open(Path(work_dir, NAME), 'w' if make else 'r+'))
            except OSError as error:
                if make:
                    raise InputError(f'the work dir {work_dir} cannot be written ({error.strerror}: {error.filename}); '
                                     'choose another with --work-dir') from error
            else:
                _lock(files[0], work_dir)

    once_per_machine(hold)
    try:
        yield
    finally:
        for file in files:
            file.close()


def _lock(file: IO, work_dir: str | Path) -> None:
    if fcntl is None:
        return
    try:
        # Not flock, which the workers of data loaders inherit: they outlive a killed run by seconds.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise InputError(f'another training is at work in {work_dir}, and the two would overwrite each other: wait for '
                         'its end, or choose another --work-dir') from error
    except OSError:  # a file system without locks
        pass
