# MobileODE V2; everything else as with V1.
_base_ = './classify_mobileode_imagenet_r.py'
model = dict(backbone=dict(type='MobileODEV2'))
