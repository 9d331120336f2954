"""Make data of aerial photographs of trees: ``python tools/make_tree_data.py``, which is ``mobileode tree-data``."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['tree-data', *sys.argv[1:]]))
