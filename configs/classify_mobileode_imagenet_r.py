# MobileODE V1 as a classifier, ImageNet-R, 256 px: the released recipe. Assumed: the split (see the data's file).
_base_ = [
    '../mmodeconf/models/classifier.py',
    '../mmodeconf/datasets/imagenet_r.py',
    '../mmodeconf/schedules/classify_300e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/classification.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', input_size=256, act_cfg=dict(type='SiLU')),
    head=dict(num_classes=200))
auto_scale_lr = dict(base_batch_size=16)
