# The mini twin of classify_mobilenetv1.py.
_base_ = '../classify_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='MobileNetV1', out_indices=(5, )))
