"""Report what is wrong with a data set: ``mobileode verify-data`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['verify-data', *sys.argv[1:]]))
