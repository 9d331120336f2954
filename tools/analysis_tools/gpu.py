"""Prove, measure and tune the kernels and networks on a GPU: ``mobileode gpu`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['gpu', *sys.argv[1:]]))
