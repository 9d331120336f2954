# The mini twin of ssdlite_mobilenetv2.py.
_base_ = '../ssdlite_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmdet.MobileNetV2', out_indices=(4, 7)))
