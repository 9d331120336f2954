# MobileODE V2; everything else as with V1.
_base_ = './classify_mobileode_tiny_imagenet.py'
model = dict(backbone=dict(type='MobileODEV2'))
