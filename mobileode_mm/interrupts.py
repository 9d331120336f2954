"""Ctrl-C in a command: one line and status 130, whenever it comes and however often."""
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Exit status where the user stops a command, as a shell has it for SIGINT.
INTERRUPTED = 130


class _State:
    """What the handler knows: the process whose Ctrl-C it is, the line to print, whether it came already."""
    owner, line, pressed = 0, 'stopped', False


def is_command() -> bool:
    """Whether this program is one of the package's commands, not a program that uses the package."""
    if sys.orig_argv[1:3] == ['-m', __package__]:
        return True
    program = Path(sys.argv[0] if sys.argv else '')
    return program.stem.split('-')[0] == 'mobileode' or program.resolve().is_relative_to(
        Path(__file__).resolve().parents[1] / 'tools')


def watch() -> None:
    """Let the first Ctrl-C raise KeyboardInterrupt, and one in an import, or the second, end the process.

    Does nothing where another handler than Python's own is set, or outside the main thread.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _handle)
        except ValueError:  # not the main thread
            return
        _State.owner, _State.pressed = os.getpid(), False


@contextmanager
def watched() -> Iterator[None]:
    """Around a command: :func:`watch`, and in a program that only calls the command, its own handler afterwards."""
    before = signal.getsignal(signal.SIGINT)
    watch()
    try:
        yield
    finally:
        if not is_command():
            _State.line, _State.pressed = 'stopped', False
            if sys.unraisablehook is _ignore:
                sys.unraisablehook = sys.__unraisablehook__
            if signal.getsignal(signal.SIGINT) is not before:
                signal.signal(signal.SIGINT, before)


def say(line: str) -> None:
    """Set the line that is printed where the command is stopped."""
    _State.line = line


def was_pressed() -> bool:
    """Whether Ctrl-C came: what it raises may arrive as another error, or not at all."""
    return _State.pressed


def stopped() -> int:
    """Print the line; returns the exit status. From now on Ctrl-C does nothing: the command is at its end."""
    if signal.getsignal(signal.SIGINT) is _handle:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(_State.line, file=sys.stderr)
    return INTERRUPTED


def _handle(number, frame) -> None:
    if os.getpid() != _State.owner:
        os._exit(0)  # a worker of a data loader: the terminal sends it to all
    if _State.pressed or _importing(frame):
        os.write(2, f'{_State.line}\n'.encode())
        os._exit(INTERRUPTED)
    _State.pressed = True
    sys.unraisablehook = _ignore
    raise KeyboardInterrupt


def _ignore(unraisable) -> None:
    """Objects that the interrupt left half-made complain where they are removed."""


def _importing(frame) -> bool:
    # Compiled modules and bare "except" make something else of a KeyboardInterrupt, or abort.
    while frame is not None:
        if frame.f_code.co_filename == '<frozen importlib._bootstrap>':
            return True
        frame = frame.f_back
    return False
