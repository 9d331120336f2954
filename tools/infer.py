"""Detect, segment or classify: ``python tools/infer.py CONFIG CHECKPOINT INPUT...``, which is ``mobileode infer``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['infer', *sys.argv[1:]]))
