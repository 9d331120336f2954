"""Write an ONNX, TorchScript or exported-program file: ``mobileode export`` under the name of a tool."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['export', *sys.argv[1:]]))
