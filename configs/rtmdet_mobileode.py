# RTMDet's head and a slim neck on MobileODE V1, COCO 2017, 320 px: 1.1 M parameters, no anchors.
_base_ = [
    '../mmodeconf/models/rtmdet.py',
    '../mmodeconf/datasets/coco_mosaic.py',
    '../mmodeconf/schedules/rtmdet_300e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/detection.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', out_indices=(3, 4, 5), input_size=320, act_cfg=dict(type='SiLU')))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PipelineSwitchHook', switch_epoch=280, switch_pipeline=_base_.last_train_pipeline),
]
