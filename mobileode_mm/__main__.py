"""``python -m mobileode_mm COMMAND``."""
import sys

from .cli import main

sys.exit(main())
