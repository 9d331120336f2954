"""mmdet's heads of one stage behind our backbone: their boxes, from a file, are those of mmdet's own prediction."""
import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm

from mobileode_mm.deploy import parity
from mobileode_mm.deploy.exporting import deployed_copy
from mobileode_mm.deploy.formats import run_of
from mobileode_mm.deploy.tasks import Detector, SuppressingDetector
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import build_model, config_scope
from mobileode_mm.runs.config import load_config

FPN = dict(out_indices=(2, 3, 4, 5))
CONFIGS = {
    'retinanet/retinanet_r18_fpn_1x_coco.py': FPN,
    'atss/atss_r50_fpn_1x_coco.py': FPN,
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': FPN,
    'yolof/yolof_r50-c5_8xb8-1x_coco.py': dict(out_indices=(5, )),
    'yolox/yolox_tiny_8xb8-300e_coco.py': dict(out_indices=(3, 4, 5)),
    'rtmdet/rtmdet_tiny_8xb32-300e_coco.py': dict(out_indices=(3, 4, 5)),
}
#: Neither is a multiple of 32, to which most of these data preprocessors pad.
SIZE = (150, 190)


def build(config, folder):
    """A detector whose scores differ, hardly trained; its config is mmdet's but for the backbone."""
    widths = dict(out_channels=64) if 'fpn' in config else {}
    if 'yolof' in config:
        widths = dict(in_channels=36)
    (folder / 'config.py').write_text(
        f"_base_ = 'mmdet::{config}'\ncustom_imports = dict(imports=['mobileode_mm', 'mobileode_mm.detection'])\n"
        "model = dict(type='FittedDetector', backbone=dict(_delete_=True, type='MobileODEV1', widen_factor=0.25, "
        f"num_steps=1, **{CONFIGS[config]}), neck={widths})\n")
    cfg = load_config(folder / 'config.py')
    cfg.model.bbox_head.pop('in_channels')
    if 'yolof' not in config:
        cfg.model.neck.pop('in_channels')
    cfg.model.test_cfg.setdefault('max_per_img', 2000)  # YOLOX's gives all
    torch.manual_seed(0)
    with config_scope(cfg), torch.no_grad():
        model = revert_sync_batchnorm(build_model(cfg)).train()
        for name, parameter in model.bbox_head.named_parameters():
            if parameter.dim() > 1:
                # Sides are exponents of what the last convolutions give.
                torch.nn.init.normal_(parameter, std=parameter[0].numel()**-0.5 * (0.2 if 'conv_reg' in name else 1))
            elif name.endswith('bias'):
                torch.nn.init.zeros_(parameter)
        for _ in range(6):
            model(torch.randn(2, 3, 160, 192), mode='tensor')
    return model.eval()


@pytest.mark.parametrize('config', CONFIGS, ids=lambda config: config.split('/')[0])
def test_boxes_are_those_of_the_toolbox(config, tmp_path):
    model = build(config, tmp_path)
    size = SIZE if model.data_preprocessor.pad_size_divisor > 1 else (160, 192)
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    task = SuppressingDetector(model, False).eval()
    with torch.no_grad():
        deployed = SuppressingDetector(deployed_copy(model, size), False).eval()
        rows = parity.compare(task, deployed, run_of(deployed), [image])
        _, scores, _ = task(torch.from_numpy(image))
    assert (scores > 0).sum() > 20
    assert all(row.good for row in rows), parity.table(rows)


def test_a_file_of_all_boxes_says_how_the_best_are_chosen_where_it_can(tmp_path):
    image = torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    with torch.no_grad():
        counts = Detector(build('retinanet/retinanet_r18_fpn_1x_coco.py', tmp_path), False).counts(image)
        assert counts == [9 * rows * columns for rows, columns in ((20, 24), (10, 12), (5, 6), (3, 3), (2, 2))]
        with pytest.raises(InputError, match='scores without their factors'):
            Detector(build('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', tmp_path), False).counts(image)


def test_heads_that_are_read_otherwise_are_refused(tmp_path):
    model = build('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', tmp_path)
    model.bbox_head = torch.nn.Identity()
    with pytest.raises(InputError, match='FittedDetector with Identity cannot be exported: .*ATSS'):
        Detector(model, False)


def test_a_file_has_a_fixed_number_of_boxes(tmp_path):
    model = build('yolox/yolox_tiny_8xb8-300e_coco.py', tmp_path)
    model.test_cfg.pop('max_per_img')
    with pytest.raises(InputError, match='model.test_cfg.max_per_img=300'):
        SuppressingDetector(model, False)
    model.test_cfg.max_per_img = 20  # mmdet's own prediction gives more
    task = SuppressingDetector(model, False).eval()
    with torch.no_grad():
        image = np.random.default_rng(0).integers(0, 256, (1, 160, 192, 3), np.uint8)
        rows = parity.compare(task, task, run_of(task), [image])
    assert all(row.good for row in rows), parity.table(rows)
