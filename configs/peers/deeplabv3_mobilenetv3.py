# DeepLabV3 with mmseg's MobileNetV3-Large (by itself of output stride 8), from scratch; else as with MobileODE V1.
_base_ = '../deeplabv3_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='mmseg.MobileNetV3', arch='large', out_indices=(12, 16)))
