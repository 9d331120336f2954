"""Compare the solvers' norms on segmentation: ``mobileode norms`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['norms', *sys.argv[1:]]))
