import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def toy():
    """The module of the toy model and its configs."""
    spec = importlib.util.spec_from_file_location('toy', Path(__file__).with_name('toy.py'))
    module = importlib.util.module_from_spec(spec)
    sys.modules['toy'] = module  # data loaders pickle by module name
    spec.loader.exec_module(module)
    return module
