"""A line of progress on a terminal."""

import sys
import time
from collections.abc import Callable


def progress_line(what: str = 'image') -> Callable[[int, int], None] | None:
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
