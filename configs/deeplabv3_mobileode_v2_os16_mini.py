# The mini twin of deeplabv3_mobileode_v2_os16.py.
_base_ = './deeplabv3_mobileode_os16_mini.py'
model = dict(backbone=dict(type='MobileODEV2'))
