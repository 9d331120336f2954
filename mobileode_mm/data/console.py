"""What the command lines of this folder share: one message for bad input, and a line of progress."""

import sys
import time
from collections.abc import Callable

from ..errors import InputError


def run(command: Callable[[], int], stopped: str) -> int:
    """Exit status of ``command()``: its own, 2 after an InputError, 130 where it is interrupted."""
    try:
        return command()
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130


def progress_line(what: str = 'picture') -> Callable[[int, int], None] | None:
    """``progress(done, total)`` that keeps one line of a terminal up to date; None where there is no terminal."""
    if not sys.stderr.isatty():
        return None
    shown = 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        if done == total or time.monotonic() > shown + 0.1:
            shown = time.monotonic()
            # The cursor goes back to the line's start, so that whatever is printed next covers this.
            print(f'{what} {done} of {total}', end='\n' if done == total else '\r', file=sys.stderr, flush=True)

    return show
