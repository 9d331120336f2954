"""Time of every part of a network beside its floor on this machine: ``python tools/analysis_tools/profile_floor.py``;
see ``--help``."""
import sys

from benchmarks.speed.floors import main

if __name__ == '__main__':
    sys.exit(main())
