"""Publish weights: ``python tools/publish.py CHECKPOINT --config CONFIG``, which is ``mobileode publish``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['publish', *sys.argv[1:]]))
