"""Imported before any test module here, whose imports of mmdet need mmcv's operators."""
import mobileode_mm  # noqa: F401
