# SSDLite with MobileNetV1, from scratch; everything else as with MobileODE V1.
_base_ = '../ssdlite_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='MobileNetV1', out_indices=(4, 5)))
