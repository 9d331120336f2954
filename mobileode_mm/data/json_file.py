"""Reading JSON files that may be large, or broken."""

import gc
import json
import os
from pathlib import Path

from ..errors import InputError


def read_json(path: str | os.PathLike):
    """What a JSON file holds.

    Raises:
        InputError: It cannot be read; names line and column where it breaks.
    """
    # The collector would visit the growing millions of objects over and over: half of the time for COCO.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return json.loads(Path(path).read_bytes())
    except json.JSONDecodeError as error:
        raise InputError(f'{path} is broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. '
                         'Was it copied or unpacked whole?') from error
    except (ValueError, RecursionError, OSError) as error:  # of its encoding, of numbers and nesting beyond use
        raise InputError(f'{path} cannot be read as JSON: {error}') from error
    finally:
        if collecting:
            gc.enable()
