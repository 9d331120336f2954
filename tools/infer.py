"""Detect, segment or classify: ``python tools/infer.py CONFIG CHECKPOINT INPUT...``; ``--help`` lists the flags."""
import sys

from mobileode_mm.inference.infer import main

if __name__ == '__main__':
    sys.exit(main())
