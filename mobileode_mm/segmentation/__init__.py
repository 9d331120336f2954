"""DeepLabV3 in mmseg's registry."""
from .deeplabv3 import DeepLabV3

__all__ = ['DeepLabV3']
