"""Train a detector, a segmentor or a classifier: ``python tools/train.py CONFIG``, which is ``mobileode train``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['train', *sys.argv[1:]]))
