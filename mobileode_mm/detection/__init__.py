"""SSDLite in mmdet's registry: the detector, its neck and its head."""
from .ssdlite import SSDLite
from .ssdlite_head import SSDLiteHead
from .ssdlite_neck import SSDLiteNeck

__all__ = ['SSDLite', 'SSDLiteHead', 'SSDLiteNeck']
