# DeepLabV3 with MobileODE V1 at output stride 8, Pascal VOC 2012, crops of 512 px.
_base_ = [
    '../mmodeconf/models/deeplabv3.py',
    '../mmodeconf/datasets/voc_segmentation.py',
    '../mmodeconf/schedules/deeplabv3_50e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/segmentation.py',
]
model = dict(
    backbone=dict(
        type='MobileODEV1',
        out_indices=(4, 5),
        strides=(2, 1, 2, 2, 1, 1),
        dilations=(1, 1, 1, 1, 2, 4),
        input_size=512,
        act_cfg=dict(type='SiLU')))
