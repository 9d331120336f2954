# MobileODE V2 as a classifier on CIFAR-10; everything else as with V1.
_base_ = './classify_mobileode_cifar10.py'
model = dict(backbone=dict(type='MobileODEV2'))
