"""Imported before any test module here, whose imports of the toolboxes need mmcv's operators."""
import mobileode_mm  # noqa: F401
