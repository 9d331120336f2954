# SSDLite with MobileODE V1, COCO 2017, 320 px.
_base_ = [
    '../mmodeconf/models/ssdlite.py',
    '../mmodeconf/datasets/coco_detection.py',
    '../mmodeconf/schedules/ssdlite_200e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/detection.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', out_indices=(4, 5), input_size=320, act_cfg=dict(type='SiLU')))
