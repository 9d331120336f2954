"""Convert weights of the released program: ``mobileode convert`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['convert', *sys.argv[1:]]))
