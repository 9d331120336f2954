"""Time networks and the ONNX files made of them: ``mobileode bench-files`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['bench-files', *sys.argv[1:]]))
