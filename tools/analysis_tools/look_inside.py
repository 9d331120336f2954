"""Draw step lengths, trajectories or feature maps of a trained network; see ``--help``."""
import sys

from mobileode_mm.apis.looking_inside import main

if __name__ == '__main__':
    sys.exit(main())
