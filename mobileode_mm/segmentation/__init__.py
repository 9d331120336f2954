"""DeepLabV3 in mmseg's registry, and a transform of its recipes."""
from .deeplabv3 import DeepLabV3
from .gaussian_noise import GaussianNoise

__all__ = ['DeepLabV3', 'GaussianNoise']
