# The mini twin of classify_mobileode_v2.py.
_base_ = './classify_mobileode_mini.py'
model = dict(backbone=dict(type='MobileODEV2'))
