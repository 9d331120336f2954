# SSDLite with mmpretrain's MobileNetV3-Large, from scratch; everything else as with MobileODE V1.
_base_ = '../ssdlite_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV3', arch='large', out_indices=(12, 16)))
