"""MobileODE (channelwise ODE solver) networks for OpenMMLab.

Importing the package registers its backbones, lets an mmcv without compiled operators be used, has MMEngine find
mmseg's configs whichever distribution brings them, and keeps mmpretrain's classifiers beside a transformers that is too
new for its other models.
"""

import warnings

from . import interrupts
from .compat import mmcv_ops, mmpretrain_multimodal
from .version import __version__

if interrupts.is_command():
    interrupts.watch()  # the imports below take seconds
mmcv_ops.install()
mmpretrain_multimodal.install()

try:
    from .backbones import COSConv, MobileNetV1, MobileODEV1, MobileODEV2, MobileViTODE
    from .compat import toolbox_configs
    from .zoo import create_model, list_models
    toolbox_configs.install()
except (ImportError, OSError) as error:  # a dependency is absent, or a library of it does not load
    if str(getattr(error, 'name', '')).startswith('mobileode_mm'):
        raise
    # Not raised: `python -m mobileode_mm.doctor` is part of this package and has to run on just such a machine.
    warnings.warn(
        f'the backbones of mobileode_mm are not available ({type(error).__name__}: {error}); '
        '`python -m mobileode_mm.doctor` says what is wrong and how to fix it',
        stacklevel=2)

__all__ = [
    'COSConv', 'MobileNetV1', 'MobileODEV1', 'MobileODEV2', 'MobileViTODE', '__version__', 'create_model', 'list_models'
]
