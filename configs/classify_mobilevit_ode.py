# MobileViT-ODE, the released hybrid, as a classifier; everything else as with V1.
_base_ = './classify_mobileode.py'
model = dict(backbone=dict(type='MobileViTODE'))
