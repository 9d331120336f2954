"""Time both forms of a file's solver in onnxruntime: ``mobileode bench-layouts`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['bench-layouts', *sys.argv[1:]]))
