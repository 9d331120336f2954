"""Add the Semantic Boundaries Dataset to Pascal VOC 2012: ``mobileode voc-aug`` under OpenMMLab's name."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['voc-aug', *sys.argv[1:]]))
