"""What measures MobileODE: speed, suites of trainings, complexity, studies. Run from a checkout; not in the wheel."""
from pathlib import Path

#: Folder of the checkout.
ROOT = Path(__file__).parents[1]
