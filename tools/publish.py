"""Publish weights: ``python tools/publish.py CHECKPOINT --config CONFIG``; ``--help`` lists the flags."""
import sys

from mobileode_mm.deploy.publishing import main

if __name__ == '__main__':
    sys.exit(main())
