"""Data roots: from the options, the environment, the file, the current folder, the checkout."""
import subprocess
import sys

import pytest

from mobileode_mm.errors import InputError
from mobileode_mm.runs import config
from mobileode_mm.runs.config import data_roots, load_config

TEXT = '''
data_root = 'data/coco/'
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(
    type='CocoDataset', data_root=data_root, ann_file='annotations/train.json', data_prefix=dict(img='train/'))))
val_dataloader = dict(dataset=dict(
    type='CocoDataset', data_root=data_root, ann_file='data/val.json', data_prefix=dict(img='data/coconut/')))
test_dataloader = val_dataloader
val_evaluator = [dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json')]
test_evaluator = val_evaluator
model = dict(type='Detector', root='data/coco/weights.pth')
'''

LAZY_BASE = '''
from mmdet.datasets import CocoDataset
from mmdet.evaluation import CocoMetric

data_root = 'data/coco/'
train_dataloader = dict(dataset=dict(type=CocoDataset, data_root=data_root, ann_file='annotations/train.json'))
val_dataloader = dict(dataset=dict(type=CocoDataset, data_root=data_root, ann_file='annotations/val.json'))
val_evaluator = dict(type=CocoMetric, ann_file=data_root + 'annotations/val.json')
'''

LAZY = '''
from mmengine.config import read_base
with read_base():
    from .lazy_base import *
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MOBILEODE_DATA', raising=False)
    monkeypatch.setattr(config, 'checkout_root', lambda: None)
    (tmp_path / 'text.py').write_text(TEXT)
    (tmp_path / 'lazy_base.py').write_text(LAZY_BASE)
    (tmp_path / 'lazy.py').write_text(LAZY)
    return tmp_path


def paths(cfg):
    evaluator = cfg.val_evaluator[0] if isinstance(cfg.val_evaluator, list) else cfg.val_evaluator
    train = cfg.train_dataloader.dataset
    return (cfg.data_root, train.get('dataset', train).data_root, cfg.val_dataloader.dataset.data_root,
            evaluator.ann_file)


@pytest.mark.parametrize('name', ['text.py', 'lazy.py'])
def test_precedence(name, monkeypatch):
    assert paths(load_config(name)) == ('data/coco/', 'data/coco/', 'data/coco/', 'data/coco/annotations/val.json')
    monkeypatch.setenv('MOBILEODE_DATA', '/big')
    assert paths(load_config(name)) == ('/big/coco/', '/big/coco/', '/big/coco/', '/big/coco/annotations/val.json')
    cfg = load_config(name, {'data_root': '/x'})
    assert paths(cfg) == ('/x', '/x/', '/x/', '/x/annotations/val.json')
    cfg = load_config(name, {'data_root': '/x', 'val_dataloader.dataset.data_root': 'data/mine'})
    assert paths(cfg) == ('/x', '/x/', 'data/mine', '/x/annotations/val.json')


def test_only_what_lies_under_the_root_moves():
    cfg = load_config('text.py', {'data_root': '/x'})
    assert cfg.val_dataloader.dataset.ann_file == 'data/val.json'
    assert cfg.val_dataloader.dataset.data_prefix == {'img': 'data/coconut/'}
    assert cfg.test_evaluator == [{'type': 'CocoMetric', 'ann_file': '/x/annotations/val.json'}]
    assert cfg.model.root == 'data/coco/weights.pth'


def test_a_new_root_below_the_old_one():
    # val_evaluator and test_evaluator are one list: it must not move twice.
    cfg = load_config('text.py', {'data_root': 'data/coco/2017'})
    assert cfg.test_evaluator[0].ann_file == cfg.val_evaluator[0].ann_file == 'data/coco/2017/annotations/val.json'


def test_root_of_datasets_alone(folder):
    (folder / 'own.py').write_text("train_dataloader = dict(dataset=dict(data_root='data/in'))\n"
                                   "val_dataloader = dict(dataset=dict(data_root='data/in'))\n")
    assert data_roots(load_config('own.py', {'data_root': '/x'})) == ['/x']
    (folder / 'two.py').write_text("train_dataloader = dict(dataset=dict(data_root='data/in'))\n"
                                   "val_dataloader = dict(dataset=dict(data_root='data/out'))\n")
    with pytest.raises(InputError, match='data/in, data/out'):
        load_config('two.py', {'data_root': '/x'})


def test_environment_leaves_absolute_and_other_roots(folder, monkeypatch):
    (folder / 'own.py').write_text("train_dataloader = dict(dataset=dict(data_root='/data/in'))\n"
                                   "val_dataloader = dict(dataset=dict(data_root='database/in'))\n"
                                   "test_dataloader = dict(dataset=dict(data_root='./data/in'))\n")
    monkeypatch.setenv('MOBILEODE_DATA', '/big/')
    assert data_roots(load_config('own.py')) == ['/data/in', 'database/in', '/big/in']


def test_current_folder_before_checkout(folder, monkeypatch):
    checkout = folder / 'checkout'
    (checkout / 'data/coco').mkdir(parents=True)
    monkeypatch.setattr(config, 'checkout_root', lambda: checkout)
    assert paths(load_config('text.py'))[1:] == (
        f'{checkout}/data/coco/', f'{checkout}/data/coco/', f'{checkout}/data/coco/annotations/val.json')
    (folder / 'data/coco').mkdir(parents=True)
    assert paths(load_config('text.py'))[1] == 'data/coco/'


def test_shipped_configs_load():
    cfg = load_config(config.Path(__file__).parents[2] / 'configs/ssdlite_mobileode.py', {'data_root': '/x'})
    assert data_roots(cfg) == ['/x', '/x/']
    assert cfg.val_evaluator.ann_file == '/x/annotations/instances_val2017.json'


def test_a_lazy_config_finds_its_networks(tmp_path):
    """MMEngine runs custom_imports for text configs only."""
    config = tmp_path / 'mine.py'
    config.write_text('from mmengine.config import read_base\n'
                      'with read_base():\n'
                      '    from mmodeconf.models.ssdlite import *\n'
                      '    from mmodeconf.runtime.default import *\n'
                      '    from mmodeconf.runtime.detection import *\n'
                      "model.update(backbone=dict(type='MobileODEV1', out_indices=(4, 5)))\n")
    code = ('import sys\n'
            'from mmengine.registry import MODELS, init_default_scope\n'
            'from mobileode_mm.runs.config import load_config\n'
            'cfg = load_config(sys.argv[1])\n'
            'init_default_scope(cfg.default_scope)\n'
            "print('built', type(MODELS.build(cfg.model)).__name__)\n")
    done = subprocess.run([sys.executable, '-c', code, config], capture_output=True, text=True, cwd=tmp_path)
    assert 'built SSDLite' in done.stdout, done.stderr
