"""The image files of a data set: where they are, whether they are there, and whether they can be read."""
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mmcv
import numpy as np
from PIL import UnidentifiedImageError

from ..errors import InputError, listed

#: Up to this number all images are decoded, of more as many as ``SAMPLE_SECONDS`` allow.
FEW = 2000
SAMPLE_SECONDS = 3
_NAMED = 5


def check_images(paths: list[str], what: str, read: Callable[[str], object] | None = None,
                 seconds: float | None = None, progress: Callable[[int, int], object] | None = None) -> None:
    """Look for image files that are missing, empty or unreadable.

    All are looked for. Up to ``FEW`` are decoded all; of more, an even sample for a few seconds.

    Args:
        paths: Image files; those with a URL scheme are passed over.
        what: What they are, for the message.
        read: Raises ValueError for a file that is faulty; :func:`read_image` by default.
        seconds: How long they are decoded, in the place of this rule; ``math.inf`` decodes all.
        progress: Called as ``progress(done, total)`` now and then.

    Raises:
        InputError: Names the first few faulty files, and how many there are.
    """
    paths = [path for path in dict.fromkeys(paths) if '://' not in path]
    sizes = file_sizes(paths)
    missing = [path for path in paths if path not in sizes]
    if missing:
        suffix = Path(missing[0]).suffix
        hint = f'. The list gives names with their suffix; leave {suffix} out of it' if suffix and all(
            path.endswith(2 * suffix) for path in missing) else ''
        raise InputError(f'{len(missing)} of {len(paths)} {what} do not exist: {listed(missing, _NAMED)}{hint}')
    empty = [path for path in paths if not sizes[path]]
    if empty:
        raise InputError(f'{len(empty)} of {len(paths)} {what} are empty files: {listed(empty, _NAMED)}')
    if seconds is None:
        seconds = math.inf if len(paths) <= FEW else SAMPLE_SECONDS
    faulty = find_faulty(paths, read or read_image, seconds, progress)
    if faulty:
        seen = f'{len(faulty)} of {len(paths)}' if seconds == math.inf else 'some'
        raise InputError(f'{seen} {what} cannot be used: '
                         + listed([f'{path} ({fault})' for path, fault in faulty.items()], _NAMED))


def find_faulty(paths: list[str], read: Callable[[str], object], seconds: float = math.inf,
                progress: Callable[[int, int], object] | None = None) -> dict[str, str]:
    """Read images in an order that is spread evenly over them, for as long as ``seconds`` allow.

    Args:
        paths: Image files.
        read: Raises ValueError for a file that is faulty; called in several threads.
        seconds: No further images are begun after this time.
        progress: Called as ``progress(done, total)`` now and then.

    Returns:
        The fault of each faulty one, in the order of ``paths``.
    """
    deadline = time.monotonic() + seconds
    # A stride near the golden section of the whole: every beginning of the order is spread evenly.
    stride = max(1, round(len(paths) * 0.618))
    while math.gcd(stride, len(paths)) > 1:
        stride += 1
    order = [paths[number * stride % len(paths)] for number in range(len(paths))]
    faults = {}

    def try_to_read(path: str) -> None:
        try:
            read(path)
        except ValueError as fault:
            faults[path] = str(fault)

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(order), 64):
            if time.monotonic() > deadline:
                break
            list(pool.map(try_to_read, order[start:start + 64]))
            if progress:
                progress(min(start + 64, len(order)), len(order))
    return {path: faults[path] for path in paths if path in faults}


def read_image(path: str | os.PathLike, backend: str = 'cv2', flag: str = 'unchanged') -> np.ndarray:
    """Decode an image as the training does (``mmcv`` with this backend and flag).

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        content = Path(path).read_bytes()
        image = mmcv.imfrombytes(content, flag=flag, backend=backend) if content else None
    except UnidentifiedImageError:
        image = None
    except Exception as error:
        raise ValueError(f'cannot be read: {error}') from error
    if image is None:
        raise ValueError('is broken or no image')
    return image


def walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """``os.walk`` through links to folders as well, as the toolboxes go, but for links that lead back."""
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _leads_back(place, name, str(folder))]
        yield place, folders, names


def _leads_back(place: str, name: str, top: str) -> bool:
    path = os.path.join(place, name)
    if not os.path.islink(path):
        return False
    inside = os.path.relpath(place, top).split(os.sep)
    above = (os.path.realpath(os.path.join(top, *inside[:depth])) for depth in range(len(inside) + 1))
    target = os.path.join(os.path.realpath(path), '')
    return any(os.path.join(folder, '').startswith(target) for folder in above)


def file_sizes(paths: list[str]) -> dict[str, int]:
    """Sizes in bytes of those files that exist, with one look into each folder."""
    names = {}
    for path in paths:
        folder, name = os.path.split(path)
        names.setdefault(folder, {})[name] = path
    sizes = {}
    for folder, wanted in names.items():
        if not os.path.isdir(folder or '.'):
            continue
        with os.scandir(folder or '.') as entries:
            sizes.update({wanted[entry.name]: entry.stat().st_size for entry in entries
                          if entry.name in wanted and entry.is_file()})
    return sizes
