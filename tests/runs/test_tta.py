"""``--tta``: what averages, where the config does not say."""
from pathlib import Path

import pytest
from mmengine.config import Config

from mobileode_mm.errors import InputError
from mobileode_mm.runs.config import load_config
from mobileode_mm.runs.tta import use_tta

CONFIGS = Path(__file__).parents[2] / 'configs'


def settings(name, options=None):
    return use_tta(load_config(CONFIGS / f'{name}.py', options))[0].tta_cfg


@pytest.mark.parametrize('options, most, overlap', [
    ({}, 200, 0.45), ({'+model.test_cfg.tile': dict(size=192, overlap=32)}, 1000, 0.45),
    ({'+model.test_cfg.tile': dict(size=192, overlap=32, max_per_img=300), 'model.test_cfg.nms.iou_threshold': 0.6},
     300, 0.6)])
def test_boxes_are_suppressed_and_as_many_as_the_detectors_own(options, most, overlap):
    assert settings('ssdlite_mobileode_mini', options) == dict(
        type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=overlap), max_per_img=most))


def test_the_configs_own_wins():
    own = dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.3), max_per_img=7))
    assert settings('ssdlite_mobileode_mini', {'+tta_model': own}) == own


def test_other_toolboxes():
    assert settings('deeplabv3_mobileode_mini')['type'] == 'SegTTAModel'
    assert settings('classify_mobileode_mini')['type'] == 'AverageClsScoreTTA'
    with pytest.raises(InputError, match='default_scope mmpose no usual one'):
        use_tta(Config(dict(default_scope='mmpose')))
