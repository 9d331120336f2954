# MobileNetV1 as a classifier on CIFAR-10, with the strides of MobileODE there; everything else as with MobileODE V1.
_base_ = '../classify_mobileode_cifar10.py'
model = dict(backbone=dict(_delete_=True, type='MobileNetV1', out_indices=(5, ), strides=(1, 1, 1, 2, 2, 2)))
