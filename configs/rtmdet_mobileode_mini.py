# The mini twin of rtmdet_mobileode.py: handwritten digits, 192 px, minutes on a CPU.
_base_ = [
    '../mmodeconf/models/rtmdet.py',
    '../mmodeconf/datasets/mini_detection.py',
    '../mmodeconf/schedules/mini.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/detection.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', out_indices=(3, 4, 5), input_size=192, act_cfg=dict(type='SiLU')),
    bbox_head=dict(num_classes=10))
