"""Count parameters, multiply-adds, FLOPs and activations: ``python tools/analysis_tools/get_flops.py CONFIG``; see
``--help``."""
import sys

from benchmarks.complexity.flops import main

if __name__ == '__main__':
    sys.exit(main())
