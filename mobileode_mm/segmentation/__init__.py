"""DeepLabV3 in mmseg's registry, a data set of listed images, and a transform of its recipes."""
from .deeplabv3 import DeepLabV3
from .gaussian_noise import GaussianNoise
from .listed import ListedSegDataset

__all__ = ['DeepLabV3', 'GaussianNoise', 'ListedSegDataset']
