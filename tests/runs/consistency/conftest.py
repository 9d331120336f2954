"""Data and configs in which one thing at a time does not fit."""
import importlib
import json

import pytest
from mmengine.config import Config

from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.consistency.checking import check_data
from mobileode_mm.runs.runner import fix_dataloaders

HEADS = {'detection': dict(bbox_head=3), 'segmentation': dict(decode_head=4), 'classification': dict(head=3)}


@pytest.fixture
def findings(place):
    """Check the data of a task's config after changes: ``findings('detection', change, options)`` gives the texts of
    the problems and of the warnings."""

    def find(task, change=lambda cfg: None, heads=None, splits=('train', 'val'), model=False, trained=None):
        cfg = Config.fromfile(f'{task}.py')
        change(cfg)
        fix_dataloaders(cfg)
        importlib.import_module(f'{cfg.default_scope}.models')
        with config_scope(cfg):
            network = build_model(cfg) if model else None
            report = check_data(cfg, splits, HEADS[task] if heads is None else heads, network, trained)
        return ([finding.text(most=None) for finding in report.problems],
                [finding.text(most=None) for finding in report.notes])

    return find


@pytest.fixture
def edit(place):
    """Change an annotation file of the detection data: ``edit('train', change)``."""

    def change_file(split, change):
        path = place / f'data/coco/annotations/{split}.json'
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
        return path

    return change_file
