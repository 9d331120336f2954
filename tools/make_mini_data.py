"""Make the mini data; see ``--help``."""

import sys

from mobileode_mm.data.cli import main

if __name__ == '__main__':
    sys.exit(main())
