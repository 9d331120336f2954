"""Measure layers, backbones, detectors or segmentors side by side: ``python tools/analysis_tools/benchmark.py layer``;
see ``--help``."""
import sys

from mobileode_mm.speed.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
