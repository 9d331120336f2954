"""Detectors in mmdet's registry: one that follows its backbone, SSDLite, and the parts of both heads."""
from .fitted import FittedDetector
from .rtmdet_head import RTMDetLiteHead
from .slim_pafpn import SlimPAFPN
from .ssdlite import SSDLite
from .ssdlite_head import SSDLiteHead
from .ssdlite_neck import SSDLiteNeck

__all__ = ['FittedDetector', 'RTMDetLiteHead', 'SSDLite', 'SSDLiteHead', 'SSDLiteNeck', 'SlimPAFPN']
