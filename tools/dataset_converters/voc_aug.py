"""Add the Semantic Boundaries Dataset to Pascal VOC 2012; see ``--help``."""

import sys

from mobileode_mm.data.voc_aug import main

if __name__ == '__main__':
    sys.exit(main())
