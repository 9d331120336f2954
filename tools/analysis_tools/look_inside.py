"""Draw step lengths, trajectories or feature maps: ``mobileode look-inside`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['look-inside', *sys.argv[1:]]))
