"""``mobileode doctor``."""
import argparse

from .. import doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no arguments."""
    parser.description = 'What is installed, what is wrong with it, and the command that fixes it.'


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 1 where training could not start."""
    return doctor.report()
