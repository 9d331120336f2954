"""Backbones, registered in MMEngine's root registry so that every toolbox finds them by bare name."""

from .anytime import anytime_backbones, set_steps
from .base import StagedBackbone
from .cos_conv import COSConv, SolverConv, replacement
from .deployed import Deployable, switch_to_files
from .mobilenet_v1 import MobileNetV1
from .mobileode import EDGE, MobileODEV1, MobileODEV2, ODEResidualBlock
from .mobilevit_ode import MobileViTODE
from .timm_features import TimmFeatures
from .utils import feature_channels

__all__ = [
    'COSConv', 'Deployable', 'EDGE', 'MobileNetV1', 'MobileODEV1', 'MobileODEV2', 'MobileViTODE', 'ODEResidualBlock',
    'SolverConv', 'StagedBackbone', 'TimmFeatures', 'anytime_backbones', 'feature_channels', 'replacement', 'set_steps',
    'switch_to_files'
]
