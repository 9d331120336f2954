# The mini twin of ssdlite_mobilenetv1.py.
_base_ = '../ssdlite_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='MobileNetV1', out_indices=(4, 5)))
