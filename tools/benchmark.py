"""Run a suite of trainings and tabulate it: ``python tools/benchmark.py SUITE``; ``--help`` lists the suites."""
import sys

from benchmarks.suites.execution import main

if __name__ == '__main__':
    sys.exit(main())
