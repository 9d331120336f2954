"""Write a trained network into an ONNX, TorchScript or exported-program file; ``--help`` lists the flags."""
import sys

from mobileode_mm.deploy.exporting import main

if __name__ == '__main__':
    sys.exit(main())
