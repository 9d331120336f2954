# MobileViT-ODE, the released hybrid; everything else as with V1.
_base_ = './classify_mobileode_imagenet_r.py'
model = dict(backbone=dict(type='MobileViTODE'))
