"""Compare the solvers' norms on segmentation: ``python tools/analysis_tools/compare_norms.py CONFIG``; see
``--help``."""
import sys

from benchmarks.studies.norms import main

if __name__ == '__main__':
    sys.exit(main())
