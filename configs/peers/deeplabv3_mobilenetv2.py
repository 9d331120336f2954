# DeepLabV3 with mmseg's MobileNetV2, from scratch; everything else as with MobileODE V1.
_base_ = '../deeplabv3_mobileode.py'
model = dict(backbone=dict(
    _delete_=True, type='mmseg.MobileNetV2', out_indices=(4, 6), strides=(1, 2, 2, 1, 1, 1, 1),
    dilations=(1, 1, 1, 2, 2, 4, 4)))
