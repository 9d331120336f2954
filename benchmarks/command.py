"""A module's ``add_arguments`` and ``run`` as a command line of its own."""

import argparse
from collections.abc import Callable

from mobileode_mm.errors import exit_status
from mobileode_mm.memory import keep_freed_memory


def main(add_arguments: Callable[[argparse.ArgumentParser], None], run: Callable[[argparse.Namespace], int | None],
         argv: list[str] | None = None) -> int:
    """Parse the arguments and run; returns the exit status."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(argv)
    keep_freed_memory()
    return exit_status(lambda: run(args))
