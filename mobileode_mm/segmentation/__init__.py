"""DeepLabV3 in mmseg's registry, and a data set of listed images."""
from .deeplabv3 import DeepLabV3
from .listed import ListedSegDataset

__all__ = ['DeepLabV3', 'ListedSegDataset']
