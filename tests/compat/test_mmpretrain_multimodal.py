"""mmpretrain beside a transformers of 5 or later, which an empty package with its version stands for."""
import os
import subprocess
import sys

import pytest

BUILD = """
from mmpretrain.registry import MODELS
import mmpretrain.models
assert MODELS.build(dict(type='MobileNetV2')) is not None
try:
    MODELS.build(dict(type='BlipVQA'))
except ImportError as error:
    assert 'multi-modal dependencies' in str(error)
print('built')
"""


@pytest.fixture
def environment(tmp_path):
    def make(version):
        (tmp_path / 'transformers').mkdir()
        (tmp_path / 'transformers/__init__.py').touch()
        info = tmp_path / f'transformers-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: transformers\nVersion: {version}\n')
        path = [str(tmp_path), os.environ.get('PYTHONPATH')]
        return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path))}

    return make


def run(program, environment):
    return subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize('start', ['import mobileode_mm', 'import mmpretrain, mobileode_mm',
                                   'import mmpretrain.utils, mobileode_mm'])
def test_its_classifiers_are_built_beside_a_newer_transformers(environment, start):
    done = run(start + BUILD, environment('5.17.0'))
    assert done.stdout.endswith('built\n'), done.stderr[-2000:]


def test_an_older_transformers_is_left_to_mmpretrain(environment):
    done = run('import mobileode_mm\nfrom mmpretrain.utils.dependency import WITH_MULTIMODAL\nprint(WITH_MULTIMODAL)',
               environment('4.57.3'))
    assert done.stdout.endswith('True\n'), done.stderr[-2000:]
