"""Trained networks as files that run without this package."""

from .exporting import Exported, export

__all__ = ['Exported', 'export']
