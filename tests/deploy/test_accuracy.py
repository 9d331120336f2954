"""The metrics of what computes a whole task, on data of a config."""
import json

import numpy as np
import pytest
from PIL import Image

from mobileode_mm.apis import Inferencer
from mobileode_mm.deploy.accuracy import accuracy
from mobileode_mm.deploy.formats import run_of
from mobileode_mm.deploy.inputs import Images
from mobileode_mm.deploy.tasks import TASKS


def test_of_a_detector_that_sees_tiles(small_detector, tmp_path, smooth_noise):
    """Data whose boxes are what the detector itself finds are found again: by tiles, as the toolbox does."""
    config, options, checkpoint, _ = small_detector
    smooth_noise.resize((300, 200), Image.BICUBIC).save(tmp_path / 'image.png')
    data = dict(type='CocoDataset', data_root=f'{tmp_path}/', ann_file='boxes.json', data_prefix=dict(img=''),
                metainfo=dict(classes=tuple('abcdefghij')), test_mode=True, pipeline=[
                    dict(type='LoadImageFromFile'), dict(type='Resize', scale_factor=1.0),
                    dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))])
    (tmp_path / 'tiles.py').write_text(
        f"_base_ = '{config}'\nmodel = dict(test_cfg=dict(tile=dict(size=128, overlap=32)))\n"
        f"test_dataloader = dict(dataset=dict(_delete_=True, **{data}))\n"
        f"test_evaluator = dict(_delete_=True, type='CocoMetric', metric='bbox', ann_file='{tmp_path}/boxes.json')\n")
    inferencer = Inferencer(tmp_path / 'tiles.py', checkpoint, 'cpu', cfg_options=options)
    boxes, labels, scores = inferencer([str(tmp_path / 'image.png')])[0]
    sure = np.argsort(-np.asarray(scores))[:20]
    annotations = [dict(id=number + 1, image_id=1, category_id=int(labels[index]) + 1, iscrowd=0,
                        bbox=[*map(float, boxes[index][:2]), *map(float, boxes[index][2:] - boxes[index][:2])],
                        area=float(np.prod(boxes[index][2:] - boxes[index][:2])))
                   for number, index in enumerate(sure)]
    (tmp_path / 'boxes.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='image.png', width=300, height=200)], annotations=annotations,
        categories=[dict(id=number + 1, name=name) for number, name in enumerate(inferencer.metainfo['classes'])])))
    task = TASKS['detection'][-1](inferencer.model, inferencer.takes_rgb).eval()
    metrics = accuracy(inferencer, run_of(task), Images(inferencer, 'test'), (128, 128))
    assert metrics['coco/bbox_mAP'] == pytest.approx(1)
