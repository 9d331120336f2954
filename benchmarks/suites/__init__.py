"""Suites: trainings of tasks x backbones x seeds, with one table of what came out."""
from .execution import run_suite
from .suite import load_suite, suite_names

__all__ = ['load_suite', 'run_suite', 'suite_names']
