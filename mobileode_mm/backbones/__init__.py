"""Backbones, registered in MMEngine's root registry so that every toolbox finds them by bare name."""

from .base import StagedBackbone
from .cos_conv import COSConv, SolverConv, replacement
from .deployed import Deployable, switch_to_files
from .mobilenet_v1 import MobileNetV1
from .mobileode import MobileODEV1, MobileODEV2, ODEResidualBlock
from .mobilevit_ode import MobileViTODE
from .timm_features import TimmFeatures
from .utils import feature_channels

__all__ = [
    'COSConv', 'Deployable', 'MobileNetV1', 'MobileODEV1', 'MobileODEV2', 'MobileViTODE', 'ODEResidualBlock',
    'SolverConv', 'StagedBackbone', 'TimmFeatures', 'feature_channels', 'replacement', 'switch_to_files'
]
