"""Measure layers or networks side by side: ``mobileode bench-torch`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['bench-torch', *sys.argv[1:]]))
