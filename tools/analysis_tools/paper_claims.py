"""Check the paper's claims that need no training: ``python tools/analysis_tools/paper_claims.py``."""
import sys

from benchmarks.complexity.claims import main

if __name__ == '__main__':
    sys.exit(main())
