"""``_base_ = 'mmseg::...'`` with either distribution of mmseg.

MMEngine finds a toolbox's configs by the name of OpenMMLab's own distribution, and where there is none by an import of
that name. For mmdet and mmpretrain the two names are one, so that the maintained distributions are found as well. Of
mmseg the distribution is called ``mmsegmentation``, and ``onedl-mmsegmentation`` is not found (measured with
onedl-mmengine 0.10.12).
"""

from importlib.util import find_spec

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.utils import is_installed


def install() -> None:
    """Have MMEngine look for mmseg by its import name where it is there under another distribution's name.

    One entry of MMEngine's table of names is changed. mmseg is not imported.
    """
    if find_spec('mmseg') and not is_installed(MODULE2PACKAGE['mmseg']):
        MODULE2PACKAGE['mmseg'] = 'mmseg'
