"""Convert weights of the released program: python tools/model_converters/cvnets_to_mobileode.py IN OUT"""

import sys

from mobileode_mm.checkpoints.released import main

if __name__ == '__main__':
    sys.exit(main())
