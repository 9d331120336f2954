# mmpretrain's MobileNetV2 as a classifier on CIFAR-10; everything else as with MobileODE V1.
_base_ = '../classify_mobileode_cifar10.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV2'))

# Its strides are fixed. At four times the size its maps have the sides of MobileODE's.
train_pipeline = [dict(type='RandomResizedCrop', scale=128)] + _base_.train_pipeline[1:]
test_pipeline = [dict(type='Resize', scale=(128, 128))] + _base_.test_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
