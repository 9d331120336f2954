"""Trained networks as files that run without this package: ONNX, TorchScript, exported programs."""

from .exporting import Exported, export

__all__ = ['Exported', 'export']
