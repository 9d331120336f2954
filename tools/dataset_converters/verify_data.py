"""Report what is wrong with a data set: ``mobileode verify`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['verify', *sys.argv[1:]]))
