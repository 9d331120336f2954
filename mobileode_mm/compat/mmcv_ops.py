"""Torchvision's operators in the place of mmcv's compiled extension ``mmcv._ext``, where that is missing.

pip builds mmcv without ``mmcv._ext`` unless ``MMCV_WITH_OPS=1`` is set; ``import mmcv.ops`` then raises, and with
it ``import mmdet.models``. The operators themselves are in `torchvision_ext`. Nothing but the standard
library is imported here: `install` runs when the package is imported, and the doctor has to run where torch
is missing.
"""

import importlib
import importlib.util
import shlex
import sys
from importlib import metadata
from pathlib import Path

_STAND_IN = Path(__file__).with_name('torchvision_ext.py')


class _ExtensionFinder:
    """Answers for ``mmcv._ext`` alone, and is asked last: only where no compiled extension was found."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname == 'mmcv._ext':
            return importlib.util.spec_from_file_location(fullname, _STAND_IN)
        return None


def install():
    """Has ``mmcv._ext`` found in `torchvision_ext` where mmcv has none of its own. Imports nothing yet."""
    if _ExtensionFinder not in sys.meta_path:
        sys.meta_path.append(_ExtensionFinder)


def ops_in_use() -> str:
    """Where mmcv's operators come from in this process.

    Returns:
        'compiled': mmcv's own extension; 'torchvision': the stand-in; 'broken': there is a compiled extension
        that does not load (built for another torch, as a rule); 'none': mmcv cannot be imported.
    """
    try:
        importlib.import_module('mmcv')
    except Exception:  # whatever a broken installation raises
        return 'none'
    if Path(importlib.util.find_spec('mmcv._ext').origin) == _STAND_IN:
        return 'torchvision'
    try:
        importlib.import_module('mmcv._ext')
    except Exception:
        return 'broken'
    return 'compiled'


def pip() -> str:
    """How a shell calls the pip of this interpreter."""
    return f'{shlex.quote(sys.executable)} -m pip'


def compile_command() -> str:
    """The command that puts an mmcv with compiled operators in the place of the one installed."""
    for name in ('onedl-mmcv', 'mmcv', 'mmcv-lite'):
        try:
            requirement = f'{name.removesuffix("-lite")}=={metadata.version(name)}'
            break
        except metadata.PackageNotFoundError:
            continue
    else:
        requirement = 'onedl-mmcv'
    # pip has kept the wheel it built without the operators, and takes the version for installed already.
    return (f"{pip()} install 'setuptools>=77,<82' && MMCV_WITH_OPS=1 {pip()} install --no-deps --force-reinstall "
            f'--no-cache-dir --no-build-isolation {requirement}')
