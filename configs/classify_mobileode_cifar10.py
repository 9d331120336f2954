# MobileODE V1 as a classifier, CIFAR-10, 32 px: the released recipe.
_base_ = [
    '../mmodeconf/models/classifier.py',
    '../mmodeconf/datasets/cifar10.py',
    '../mmodeconf/schedules/classify_300e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/classification.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', input_size=32, strides=(1, 1, 1, 2, 2, 2), act_cfg=dict(type='ReLU')),
    head=dict(num_classes=10))
auto_scale_lr = dict(base_batch_size=128)
