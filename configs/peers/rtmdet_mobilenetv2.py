# RTMDet's head and a slim neck on MobileNetV2, COCO 2017, 320 px.
_base_ = '../rtmdet_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='mmdet.MobileNetV2', out_indices=(2, 4, 7)))
