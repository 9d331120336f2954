# The mini twin of deeplabv3_mobilenetv3.py.
_base_ = '../deeplabv3_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmseg.MobileNetV3', arch='large', out_indices=(12, 16)))
