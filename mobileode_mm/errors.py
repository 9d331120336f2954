"""How bad input is reported: the one exception for it, and what a command line makes of it."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable

from . import interrupts

#: Exit status of a command line where something given cannot be used.
BAD_INPUT = 2
INTERRUPTED = interrupts.INTERRUPTED
# What the system says where a disk takes no more.
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is complete: what is wrong, where, and what to do. Command lines print it without a traceback
    and exit with status 2.
    """


def disk_fault(error: BaseException) -> str | None:
    """A message where an error says that the disk takes no more; None for another."""
    if not isinstance(error, OSError) or error.errno not in _DISK:
        return None
    file = f' ({os.fsdecode(error.filename)})' if isinstance(error.filename, (str, bytes)) else ''
    return f'cannot write: {error.strerror}{file}. Make room there; files that were finished before are whole'


def memory_fault(error: BaseException) -> str | None:
    """A message where an error says that memory ran out, of the GPU or of the machine; None for another.

    torch's class for GPUs is known by its name, so that torch is not needed here; on CPUs there is none.
    """
    text = str(error)
    if type(error).__name__ == 'OutOfMemoryError' or 'CUDA error: out of memory' in text:
        where = 'the GPU'
    elif isinstance(error, MemoryError) or "can't allocate memory" in text:
        where = 'the machine'
    else:
        return None
    amount = re.search(r'[Tt]ried to allocate ([\d.]+ \w+)', text)
    more = f' for {amount[1]} more' if amount else ''
    return (f'{where} has no memory left{more}. Smaller batches need less '
            '(train_dataloader.batch_size; optim_wrapper.accumulative_counts=N makes a step of N of them), and so do '
            'smaller images; in training on a GPU --amp as well')


def exit_status(command: Callable[[], int | None], stopped: str = 'stopped') -> int:
    """Exit status of ``command()``: its own (None is 0), 2 after an InputError or where disk or memory are full, 130
    where it is interrupted.

    Args:
        command: What a command line does once its arguments are parsed.
        stopped: Line printed where it is interrupted.
    """
    interrupts.say(stopped)
    try:
        status = command() or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return interrupts.stopped()
    except Exception as error:
        if interrupts.was_pressed():
            return interrupts.stopped()
        message = str(error) if isinstance(error, InputError) else disk_fault(error) or memory_fault(error)
        if message is None:
            raise
        _give_up_full_output()
        print(f'error: {message}', file=sys.stderr)
        return BAD_INPUT


def _give_up_full_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # What it still holds is flushed at the end of the process, and would fail there once more.
        with open(os.devnull, 'w') as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


def listed(names: Iterable, most: int = 10) -> str:
    """The first ``most`` names for a message, in quotes where blanks are around them, and how many more there are."""
    names = [name if name == name.strip() else repr(name) for name in map(str, names)]
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
