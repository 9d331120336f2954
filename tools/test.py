"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``, which is ``mobileode test``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['test', *sys.argv[1:]]))
