"""Count parameters, multiply-adds, FLOPs and activations: ``mobileode flops`` under OpenMMLab's name."""
import sys

from mobileode_mm.cli import main

if __name__ == '__main__':
    sys.exit(main(['flops', *sys.argv[1:]]))
