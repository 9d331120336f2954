# MobileODE V1 as a classifier, ImageNet-1k, 256 px.
_base_ = [
    '../mmodeconf/models/classifier.py',
    '../mmodeconf/datasets/imagenet.py',
    '../mmodeconf/schedules/classify_300e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/classification.py',
]
model = dict(backbone=dict(type='MobileODEV1', input_size=256, act_cfg=dict(type='SiLU')))
