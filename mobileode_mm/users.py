"""The user that a process runs as: in a container often a number, without a name and without a home."""
import getpass
import os
import tempfile
from pathlib import Path

#: Where libraries keep what they compile: torch's hub, numba and our kernels; matplotlib; Triton.
_CACHES = {'XDG_CACHE_HOME': '', 'MPLCONFIGDIR': 'matplotlib', 'TRITON_CACHE_DIR': 'triton'}


def settle_user() -> None:
    """Give a process of our own what libraries ask for where the system has it not (``docker run --user``, OpenShift).

    torch wants the user's name when torchvision is imported (torch 2.11), and numba, which mmdet imports, a folder for
    what it compiles; both fail without. What the environment says stands. Programs that we are in see to it themselves.
    """
    try:
        getpass.getuser()
    except (ImportError, KeyError, OSError):  # which of them depends on the version of Python
        os.environ['USER'] = f'uid{os.getuid()}' if hasattr(os, 'getuid') else 'user'
    if not _has_home():
        folder = _folder_of_user()
        for variable, name in _CACHES.items():
            os.environ.setdefault(variable, os.path.join(folder, name))


def _has_home() -> bool:
    """Whether there is a folder for caches in the user's home, or one can be made."""
    try:
        cache = Path('~/.cache').expanduser()
        cache.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # which says that there is no home
        return False
    return os.access(cache, os.W_OK)


def _folder_of_user() -> str:
    """The same for each process of this user; one of this process where another user's has its name."""
    folder = Path(tempfile.gettempdir(), f'mobileode_mm_uid{os.getuid()}')
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.is_symlink():
            return str(folder)
    except OSError:
        pass
    return tempfile.mkdtemp(prefix='mobileode_mm_')
