# The mini twin of rtmdet_cspnext.py.
_base_ = '../rtmdet_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmdet.CSPNeXt', deepen_factor=0.167, widen_factor=0.25))
