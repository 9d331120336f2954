"""Train a detector, a segmentor or a classifier: ``python tools/train.py CONFIG``; ``--help`` lists the
flags."""
import sys

from mobileode_mm.cli import train_main

if __name__ == '__main__':
    sys.exit(train_main())
