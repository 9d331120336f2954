# The mini twin of classify_mobileode_v2_cifar10.py.
_base_ = './classify_mobileode_cifar10_mini.py'
model = dict(backbone=dict(type='MobileODEV2'))
