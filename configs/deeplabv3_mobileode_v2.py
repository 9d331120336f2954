# DeepLabV3 with MobileODE V2; everything else as with MobileODE V1.
_base_ = './deeplabv3_mobileode.py'
model = dict(backbone=dict(type='MobileODEV2'))
