"""The public face: training, testing, inference, publishing and exporting from a config, as the commands do it.

Each name is imported when it is asked for, so that one costs nothing of the others.
"""
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..deploy.exporting import export
    from ..deploy.publishing import publish
    from ..fit.fit import fit
    from ..inference.infer import infer
    from ..inference.inferencer import Inferencer
    from ..runs.testing import test
    from ..runs.training import train

__all__ = ['Inferencer', 'export', 'fit', 'infer', 'publish', 'test', 'train']

_MODULES = {
    'Inferencer': 'inference.inferencer', 'export': 'deploy.exporting', 'fit': 'fit.fit',
    'infer': 'inference.infer', 'publish': 'deploy.publishing', 'test': 'runs.testing', 'train': 'runs.training',
}


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'..{_MODULES[name]}', __name__), name)


def __dir__() -> list[str]:
    return __all__
