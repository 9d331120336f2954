"""Backbones, registered in MMEngine's root registry so that every toolbox finds them by bare name."""

from .base import StagedBackbone
from .deployed import Deployable, switch_to_files
from .mobilenet_v1 import MobileNetV1
from .mobileode import MobileODEV1, MobileODEV2, ODEResidualBlock
from .utils import feature_channels

__all__ = [
    'Deployable', 'MobileNetV1', 'MobileODEV1', 'MobileODEV2', 'ODEResidualBlock', 'StagedBackbone', 'feature_channels',
    'switch_to_files'
]
