"""Run a suite of trainings and tabulate it: ``python tools/benchmark.py SUITE``, which is ``mobileode suite``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['suite', *sys.argv[1:]]))
