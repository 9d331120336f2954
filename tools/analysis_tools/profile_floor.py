"""Time every part of a network beside its floor: ``mobileode profile`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['profile', *sys.argv[1:]]))
