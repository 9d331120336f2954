# SSDLite with MobileODE V2; everything else as with V1.
_base_ = './ssdlite_mobileode.py'
model = dict(backbone=dict(type='MobileODEV2'))
