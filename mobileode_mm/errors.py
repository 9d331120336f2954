"""How bad input is reported: the one exception for it, and what a command line makes of it."""

import sys
from collections.abc import Callable, Iterable

#: Exit status of a command line where something given cannot be used.
BAD_INPUT = 2
#: Exit status where the user stops it, as a shell has it for SIGINT.
INTERRUPTED = 130


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is complete: what is wrong, where, and what to do. Command lines print it without a traceback
    and exit with status 2.
    """


def exit_status(command: Callable[[], int | None], stopped: str = 'stopped') -> int:
    """Exit status of ``command()``: its own (None is 0), 2 after an InputError, 130 where it is interrupted.

    Args:
        command: What a command line does once its arguments are parsed.
        stopped: Line printed where it is interrupted.
    """
    try:
        return command() or 0
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return INTERRUPTED


def listed(names: Iterable, most: int = 10) -> str:
    """The first ``most`` names for a message, and how many more there are."""
    names = [str(name) for name in names]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
