# DeepLabV3 with MobileODE V1 at output stride 8, ADE20K, crops of 256 px.
_base_ = [
    '../mmodeconf/models/deeplabv3.py',
    '../mmodeconf/datasets/ade20k_segmentation.py',
    '../mmodeconf/schedules/deeplabv3_ade20k_200e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/segmentation.py',
]
model = dict(
    backbone=dict(
        type='MobileODEV1',
        out_indices=(4, 5),
        strides=(2, 1, 2, 2, 1, 1),
        dilations=(1, 1, 1, 1, 2, 4),
        input_size=256,
        act_cfg=dict(type='SiLU')),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150))
