"""The toolboxes' configs are found under either family of distributions."""
import importlib
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from mmengine.config import Config

from mobileode_mm.doctor import DISTRIBUTIONS
from mobileode_mm.runs.config import load_config

CONFIGS = {
    'mmdet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
    'mmseg': 'pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512.py',
    'mmpretrain': 'resnet/resnet50_8xb32_in1k.py',
}


def without_scopes(node):
    """MMEngine marks what comes from another toolbox's config with that toolbox's scope."""
    if isinstance(node, dict):
        return {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
    return [without_scopes(value) for value in node] if isinstance(node, (list, tuple)) else node


@pytest.mark.parametrize('toolbox', CONFIGS)
@pytest.mark.parametrize('read', [Config.fromfile, load_config], ids=['MMEngine', 'load_config'])
def test_a_toolboxs_config_is_inherited(toolbox, read, tmp_path):
    stock = Path(importlib.import_module(toolbox).__path__[0], '.mim/configs', CONFIGS[toolbox])
    (tmp_path / 'mine.py').write_text(f"_base_ = '{toolbox}::{CONFIGS[toolbox]}'\nmine = 1\n")
    found = without_scopes(read(tmp_path / 'mine.py').to_dict())
    assert found.pop('mine') == 1
    assert found == without_scopes(Config.fromfile(stock).to_dict())


PROGRAM = """
import sys
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
before = dict(MODULE2PACKAGE)
import mobileode_mm
changed = {name for name in before if before[name] != MODULE2PACKAGE[name]}
assert changed == set(sys.argv[2:]), changed
assert MODULE2PACKAGE.keys() == before.keys() and 'mmseg' not in sys.modules
print(Config._get_cfg_path(sys.argv[1], 'mine.py'))
"""


def run(folder, *args):
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', PROGRAM, *args], capture_output=True, text=True,
                          cwd=folder, env={**os.environ, 'PYTHONPATH': str(folder)})
    return done.returncode, done.stdout, done.stderr.strip().splitlines()


def test_one_name_is_changed_and_only_where_it_must_be(tmp_path):
    maintained, own = DISTRIBUTIONS['mmseg']
    installed = {distribution.metadata['Name'] for distribution in metadata.distributions()}
    status, path, err = run(tmp_path, f'mmseg::{CONFIGS["mmseg"]}', *['mmseg'] * (not installed & set(own)))
    assert status == 0, err
    assert CONFIGS['mmseg'] in path


def test_openmmlabs_own_distribution_is_left_alone(tmp_path):
    """In its layout: metadata that name the distribution, the import package and the configs in it."""
    info, configs = tmp_path / 'mmsegmentation-1.2.2.dist-info', tmp_path / 'mmseg/.mim/configs/pspnet'
    info.mkdir()
    configs.mkdir(parents=True)
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: mmsegmentation\nVersion: 1.2.2\n')
    (info / 'top_level.txt').write_text('mmseg\n')
    (tmp_path / 'mmseg/__init__.py').touch()
    (tmp_path / 'mmseg/.mim/model-index.yml').write_text('Import: []\n')
    (configs / 'mine.py').write_text('mine = 1\n')
    status, path, err = run(tmp_path, 'mmseg::pspnet/mine.py')
    assert status == 0, err
    assert 'mmseg/.mim/configs/pspnet/mine.py' in path
