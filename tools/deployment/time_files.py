"""Time trained networks, and the ONNX files made of them, side by side; ``--help`` lists the flags."""
import sys

from benchmarks.speed.files import main

if __name__ == '__main__':
    sys.exit(main())
