"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``; ``--help`` lists the flags."""
import sys

from mobileode_mm.cli import test_main

if __name__ == '__main__':
    sys.exit(test_main())
