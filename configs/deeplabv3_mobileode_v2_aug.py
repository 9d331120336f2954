# deeplabv3_mobileode_v2.py on the augmented training set: VOC 2012 and SBD.
_base_ = './deeplabv3_mobileode_aug.py'
model = dict(backbone=dict(type='MobileODEV2'))
