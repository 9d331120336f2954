"""Classification in mmpretrain's registry: a classifier whose widths follow from its backbone, and its head."""
from .classifier import FittedClassifier
from .linear_head import DropoutLinearHead

__all__ = ['DropoutLinearHead', 'FittedClassifier']
