# The mini twin of ssdlite_mobileode.py: handwritten digits, 192 px, minutes on a CPU.
_base_ = [
    '../mmodeconf/models/ssdlite.py',
    '../mmodeconf/datasets/mini_detection.py',
    '../mmodeconf/schedules/mini.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/detection.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', out_indices=(4, 5), input_size=192, act_cfg=dict(type='SiLU')),
    bbox_head=dict(
        num_classes=10,
        # As at 320 px, with scales from 0.2 to 1.05 of 192 px: the digits are 34 to 90 px high.
        anchor_generator=dict(
            strides=[16, 32, 64, 96, 192, 192],
            min_sizes=[38.4, 65.6, 92.8, 120, 147.2, 174.4],
            max_sizes=[65.6, 92.8, 120, 147.2, 174.4, 201.6])))
