"""Check the paper's claims that need no training: ``mobileode claims`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['claims', *sys.argv[1:]]))
