# SSDLite with mmdet's MobileNetV2, from scratch; everything else as with MobileODE V1.
_base_ = '../ssdlite_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='mmdet.MobileNetV2', out_indices=(4, 7)))
