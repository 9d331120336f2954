"""Draw step lengths, trajectories or feature maps of a trained network; see ``--help``."""
import sys

from benchmarks.studies.look_inside import main

if __name__ == '__main__':
    sys.exit(main())
