"""Fit several networks to one folder of images: ``mobileode fits`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['fits', *sys.argv[1:]]))
