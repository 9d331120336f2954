"""Train on a folder of labelled images: ``python tools/fit.py DATA``, which is ``mobileode fit``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['fit', *sys.argv[1:]]))
