"""mmpretrain's classifiers beside a transformers that its multimodal models do not know.

Wherever transformers is installed, ``import mmpretrain.models`` imports multimodal models too, and those take from it
what transformers 5 no longer has: ``TypeError: NoneType takes no arguments``, with which every classifier is lost
(measured with mmpretrain 1.3.6 and transformers 5.17). mmpretrain's own stand-ins for them, which it registers where
transformers is missing, are taken there.
"""

import sys
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_MODULE = 'mmpretrain.utils.dependency'
#: The first transformers that has left out what the models import.
_TOO_NEW = 5


class _DependencyFinder:
    """Finds the module in which mmpretrain asks what is installed, and no other."""

    @staticmethod
    def find_spec(fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                module.WITH_MULTIMODAL = False

            spec.loader.exec_module = exec_module
        return spec


def install() -> None:
    """Have mmpretrain do without multimodal models beside a transformers of 5 or later. Imports nothing yet."""
    if not _is_too_new():
        return
    if _MODULE in sys.modules:  # its models may still be to come
        sys.modules[_MODULE].WITH_MULTIMODAL = False
    elif _DependencyFinder not in sys.meta_path:
        sys.meta_path.insert(0, _DependencyFinder)


def _is_too_new() -> bool:
    try:
        return int(metadata.version('transformers').partition('.')[0]) >= _TOO_NEW
    except (metadata.PackageNotFoundError, ValueError):
        return False
