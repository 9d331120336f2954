# The mini twin of deeplabv3_mobileode.py: handwritten digits, crops of 96 px, minutes on a CPU.
_base_ = [
    '../mmodeconf/models/deeplabv3.py',
    '../mmodeconf/datasets/mini_segmentation.py',
    '../mmodeconf/schedules/mini_segmentation.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/segmentation.py',
]
model = dict(
    backbone=dict(
        type='MobileODEV1',
        out_indices=(4, 5),
        strides=(2, 1, 2, 2, 1, 1),
        dilations=(1, 1, 1, 1, 2, 4),
        input_size=96,
        act_cfg=dict(type='SiLU')),
    # Rates that go with a map of 12 x 12, and an eighth of the channels.
    # Four pixels in five are background: it weighs less, or nothing else is learned for hundreds of iterations.
    decode_head=dict(
        num_classes=11, channels=64, dilations=(1, 2, 4, 6), loss_decode=dict(class_weight=[0.3] + 10 * [1.0])),
    auxiliary_head=dict(num_classes=11, channels=32, loss_decode=dict(class_weight=[0.3] + 10 * [1.0])))
