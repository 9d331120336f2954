"""Run an exported file of any format on images: ``mobileode run`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['run', *sys.argv[1:]]))
