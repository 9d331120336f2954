# DeepLabV3 with MobileODE V2 on ADE20K; everything else as with V1.
_base_ = './deeplabv3_mobileode_ade20k.py'
model = dict(backbone=dict(type='MobileODEV2'))
