"""model-index.yml and what it imports, against the configs themselves."""
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config

from mobileode_mm.runs.checks import build_model, config_scope

ROOT = Path(__file__).parents[3]
PATHS = {path.stem: str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('*.py')}
FULL = sorted(name for name in PATHS if not name.endswith('_mini'))
DATASETS = {'data/coco/': 'COCO 2017', 'data/VOCdevkit/VOC2012/': 'Pascal VOC 2012', 'data/imagenet/': 'ImageNet-1k',
            'data/cifar10/': 'CIFAR-10', 'data/imagenet-r/': 'ImageNet-R', 'data/tiny-imagenet-200/': 'Tiny-ImageNet',
            'data/ade/ADEChallengeData2016/': 'ADE20K', 'data/busi/': 'BUSI', 'data/faces/': 'Faces',
            'data/tree_parts/': 'tree photographs'}


@pytest.fixture(scope='module')
def index():
    files = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
    parts = [yaml.safe_load((ROOT / file).read_text()) for file in files]
    return {key: [entry for part in parts for entry in part[key]] for key in ('Collections', 'Models')}


def test_every_full_config_is_listed_once(index):
    assert [model['Name'] for model in index['Models']] == FULL
    assert all(model['Config'] == PATHS[model['Name']] for model in index['Models'])
    assert {model['In Collection'] for model in index['Models']} == {entry['Name'] for entry in index['Collections']}
    assert all((ROOT / entry['README']).is_file() and entry['Paper']['Title'] for entry in index['Collections'])


def test_nothing_is_claimed_that_was_not_measured(index):
    assert all(model.keys() == {'Name', 'In Collection', 'Config', 'Metadata'} for model in index['Models'])


@pytest.mark.parametrize('name', FULL)
def test_metadata(name, index):
    model = next(model for model in index['Models'] if model['Name'] == name)
    metadata, cfg = model['Metadata'], Config.fromfile(ROOT / model['Config'])
    assert metadata['Epochs'] == cfg.train_cfg.max_epochs
    dataset = cfg.train_dataloader.dataset
    roots = [part.data_root for part in dataset.get('datasets', [dataset])]
    assert metadata['Training Data'] == DATASETS[roots[0]] + (' + SBD' if len(roots) > 1 else '')
    backbone = cfg.model.backbone
    if backbone.type == 'TimmFeatures':
        pytest.importorskip('timm', reason='timm is not installed')
        assert backbone.name.startswith(model['In Collection'].lower())
    else:
        assert backbone.type.rpartition('.')[2].startswith(model['In Collection'])
    with config_scope(cfg), torch.device('meta'):
        network = build_model(cfg)
    assert metadata['Parameters'] == sum(parameter.numel() for part, parameter in network.named_parameters()
                                         if not part.startswith('auxiliary_head'))
