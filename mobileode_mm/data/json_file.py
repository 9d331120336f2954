"""Reading JSON files that may be large, or broken."""

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError


def read_json(path: str | os.PathLike):
    """What a JSON file holds.

    Raises:
        InputError: It cannot be read; names line and column where it breaks.
    """
    try:
        # Programs of Windows begin a file with a byte-order mark, which json.loads refuses in a text.
        with without_collector():
            return json.loads(Path(path).read_bytes().decode('utf-8-sig'))
    except json.JSONDecodeError as error:
        raise InputError(f'{path} is broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. '
                         'Was it copied or unpacked whole?') from error
    except (ValueError, RecursionError, OSError) as error:  # of its encoding, of numbers and nesting beyond use
        raise InputError(f'{path} cannot be read as JSON: {error}') from error


def json_files(folder: Path, depth: int) -> list[Path]:
    """JSON files of a folder and of ``depth`` levels of folders in it, in the order of their paths.

    Hidden ones are left out: settings of editors, and copies that they keep.
    """
    found = (path for level in range(depth + 1) for path in folder.glob('*/' * level + '*.json'))
    return sorted(path for path in found
                  if not any(part.startswith('.') for part in path.relative_to(folder).parts))


@contextmanager
def without_collector() -> Iterator[None]:
    """While many objects are made that stay: the collector would visit the growing millions over and over, which takes
    half of the time for COCO."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
