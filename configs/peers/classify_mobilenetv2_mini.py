# The mini twin of classify_mobilenetv2.py.
_base_ = '../classify_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV2'))
