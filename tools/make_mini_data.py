"""Make the mini data: ``python tools/make_mini_data.py``, which is ``mobileode mini-data``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['mini-data', *sys.argv[1:]]))
