"""A local file backend whose files are complete or absent, never half-written."""
import os
import os.path as osp
import re
import uuid
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.utils import mkdir_or_exist

try:
    import fcntl
except ImportError:  # Windows, which removes no file that is open
    fcntl = None

_UNFINISHED = re.compile(r'\..+\.[0-9a-f]{8}\.tmp')


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local storage that writes beside the target and renames.

    A process killed at any moment leaves the previous file of that name, or none, or the new one whole. What
    it may leave is a temporary ``.<name>.<random>.tmp``: hidden, so that ``epoch_*.pth`` and ``*.pth`` do not
    match it, and removed by :func:`remove_unfinished`. Use it as
    ``CheckpointHook(backend_args=dict(backend='atomic'))``.

    ``CheckpointHook`` removes the checkpoint that ``max_keep_ckpts`` makes surplus before it writes the next
    one: with 1 a kill in between leaves no checkpoint, with 2 or more there is always a whole one.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to ``filepath``; its folder is made where it is missing.

        Raises:
            OSError: The file cannot be written (disk full, no right). What stood there before stays.
        """
        filepath = os.fspath(filepath)
        folder, name = osp.split(filepath)
        mkdir_or_exist(folder)
        # The random part keeps two writers of one name apart. Files of the tempfile module have mode 0600.
        temporary = osp.join(folder, f'.{name}.{uuid.uuid4().hex[:8]}.tmp')
        try:
            with open(temporary, 'wb') as file:
                _lock(file)
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, filepath)
        except BaseException as error:
            if osp.exists(temporary):
                os.remove(temporary)
            if isinstance(error, OSError):
                error.filename = filepath  # of a write that fails it is not known
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to ``filepath``, as :meth:`put` does."""
        self.put(obj.encode(encoding), filepath)


def remove_unfinished(folder: str | Path) -> list[str]:
    """Remove what killed writers left in a folder; files of writers that are at work stay.

    Returns:
        Names of the removed files.
    """
    removed = []
    for path in Path(folder).glob('.*.tmp'):
        if not _UNFINISHED.fullmatch(path.name):
            continue
        try:
            with open(path, 'rb') as file:
                _lock(file)
                path.unlink()
        except OSError:  # its writer holds the lock, or was faster; or it is not ours to remove
            continue
        removed.append(path.name)
    return removed


def _lock(file) -> None:
    """OSError where another process has the file's lock."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
