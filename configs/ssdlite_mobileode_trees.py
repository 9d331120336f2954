"""Aerial photographs of trees: SSDLite with MobileODE V1 as `mobileode fit` chose it, but for the early end.

The data: `python -m benchmarks.tree_parts`.
"""
from mmengine.config import read_base

with read_base():
    from mmodeconf.datasets.own_tiles import *
    from mmodeconf.models.ssdlite import *
    from mmodeconf.runtime.default import *
    from mmodeconf.runtime.detection import *
    from mmodeconf.schedules.own import *

data_root = 'data/tree_parts/'
metainfo = dict(classes=('Tree',))
model.update(backbone=dict(type='MobileODEV1', out_indices=(3, 4, 5), input_size=192, act_cfg=dict(type='SiLU')))
model.bbox_head.num_classes = 1
model.train_cfg.assigner.neg_iou_thr = 0.3
# A map of stride 8 stands in front, and its anchors are those that reach the boxes.
model.neck.out_channels = (128, 256, 256, 256, 128, 128)
model.bbox_head.anchor_generator.update(
    strides=[8, 16, 32, 64, 96, 192],
    ratios=[[2, 3], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]],
    min_sizes=[14.7, 33.1, 43.1, 43.2, 68.8, 98.5],
    max_sizes=[37.9, 73.8, 134.5, 97.3, 126.7, 201.6])
model.test_cfg.tile = dict(size=192, overlap=74)
train_dataloader.dataset.pipeline[2].scale = (192, 192)
train_dataloader.dataset.pipeline[3].crop_size = (192, 192)
train_dataloader.dataset.pipeline[4].size = (192, 192)
train_dataloader.dataset.update(metainfo=metainfo, data_root=data_root, ann_file='train.json')
val_dataloader.dataset.update(metainfo=metainfo, data_root=data_root, ann_file='val.json')
val_evaluator.update(ann_file=data_root + 'val.json')
test_dataloader.dataset.update(metainfo=metainfo, data_root=data_root, ann_file='test.json')
test_evaluator.update(ann_file=data_root + 'test.json')
train_cfg.update(max_epochs=69, val_interval=5)
param_scheduler[1].update(T_max=69, end=69)
default_hooks.checkpoint.update(interval=5)
