"""``mobileode doctor``."""
import argparse

from .. import doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Also of ``python -m mobileode_mm.doctor``."""
    parser.description = 'What is installed, what is wrong with it, and the command that fixes it.'
    doctor.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; returns 1 where training could not start."""
    return doctor.report(args.compile_kernels)
