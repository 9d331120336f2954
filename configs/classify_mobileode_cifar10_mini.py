# The mini twin of classify_mobileode_cifar10.py: handwritten digits shrunk to 32 px.
_base_ = './classify_mobileode_mini.py'
model = dict(
    backbone=dict(type='MobileODEV1', input_size=32, strides=(1, 1, 1, 2, 2, 2), act_cfg=dict(type='ReLU')))

shrink = [dict(type='Resize', scale=(32, 32), interpolation='area')]
train_pipeline = _base_.train_pipeline[:-1] + shrink + _base_.train_pipeline[-1:]
test_pipeline = _base_.test_pipeline[:-1] + shrink + _base_.test_pipeline[-1:]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
