"""Measure layers, backbones, detectors or segmentors side by side: ``python tools/analysis_tools/benchmark.py layer``;
see ``--help``."""
import sys

from benchmarks.speed.compare import main

if __name__ == '__main__':
    sys.exit(main())
