# The mini twin of rtmdet_mobilenetv2.py.
_base_ = '../rtmdet_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmdet.MobileNetV2', out_indices=(2, 4, 7)))
