"""Aerial photographs of trees: RTMDet's head on MobileODE V1, the training as for ``ssdlite_mobileode_trees.py``.

The data: `python -m benchmarks.tree_parts`.
"""
from mmengine.config import read_base

with read_base():
    from mmodeconf.models.rtmdet import model as rtmdet

    from .ssdlite_mobileode_trees import *

model = rtmdet
del rtmdet  # what is left here is a key of the config
model.update(backbone=dict(type='MobileODEV1', out_indices=(3, 4, 5), input_size=192, act_cfg=dict(type='SiLU')))
model.bbox_head.num_classes = 1
model.test_cfg.tile = dict(size=192, overlap=74)
