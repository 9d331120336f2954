"""Where the time of ONNX files goes: ``mobileode bench-operators`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['bench-operators', *sys.argv[1:]]))
