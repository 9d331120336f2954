# RTMDet's head and a slim neck on a narrow CSPNeXt-tiny, COCO 2017, 320 px.
_base_ = '../rtmdet_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='mmdet.CSPNeXt', deepen_factor=0.167, widen_factor=0.25))
