# MobileODE V1 as a classifier, Tiny-ImageNet, 64 px. Assumed: all but the classes (see the data's file), also strides
# and activation, which are those of 256 px.
_base_ = [
    '../mmodeconf/models/classifier.py',
    '../mmodeconf/datasets/tiny_imagenet.py',
    '../mmodeconf/schedules/classify_300e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/classification.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', input_size=64, act_cfg=dict(type='SiLU')),
    head=dict(num_classes=200))
auto_scale_lr = dict(base_batch_size=128)
