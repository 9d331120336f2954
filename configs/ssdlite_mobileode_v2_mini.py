# The mini twin of ssdlite_mobileode_v2.py.
_base_ = './ssdlite_mobileode_mini.py'
model = dict(backbone=dict(type='MobileODEV2'))
