# The mini twin of ssdlite_mobilenetv3.py.
_base_ = './ssdlite_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV3', arch='large', out_indices=(12, 16)))
