# SSDLite with MobileODE V1 and COS in neck and head too, COCO 2017, 320 px: 755,720 parameters.
_base_ = ['./ssdlite_mobileode.py', '../mmodeconf/models/ssdlite_full.py']
model = _base_.full
