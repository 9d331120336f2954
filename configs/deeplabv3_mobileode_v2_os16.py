# DeepLabV3 with MobileODE V2 at output stride 16; everything else as with V1.
_base_ = './deeplabv3_mobileode_os16.py'
model = dict(backbone=dict(type='MobileODEV2'))
