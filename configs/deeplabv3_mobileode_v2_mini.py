# The mini twin of deeplabv3_mobileode_v2.py.
_base_ = './deeplabv3_mobileode_mini.py'
model = dict(backbone=dict(type='MobileODEV2'))
