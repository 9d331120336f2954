"""Measure trained networks in every runtime: ``mobileode bench`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['bench', *sys.argv[1:]]))
