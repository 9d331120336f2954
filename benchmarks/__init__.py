"""What measures MobileODE: speed, suites of trainings, complexity, studies. Run from a checkout; not in the wheel."""
