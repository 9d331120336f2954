"""Imported before any test module here: the package before the toolbox, as in a run."""
import mobileode_mm  # noqa: F401
