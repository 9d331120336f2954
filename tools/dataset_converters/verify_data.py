"""Say what is wrong with the folder of a data set before training does; see ``--help``."""

import sys

from mobileode_mm.data.verify.cli import main

if __name__ == '__main__':
    sys.exit(main())
