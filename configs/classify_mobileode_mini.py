# The mini twin of classify_mobileode.py: handwritten digits, 64 px, minutes on a CPU.
_base_ = [
    '../mmodeconf/models/classifier.py',
    '../mmodeconf/datasets/mini_classification.py',
    '../mmodeconf/schedules/classify_mini.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/classification.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', input_size=64, act_cfg=dict(type='SiLU')),
    head=dict(num_classes=10))
