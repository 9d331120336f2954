# The mini twin of deeplabv3_mobilenetv2.py.
_base_ = '../deeplabv3_mobileode_mini.py'
model = dict(backbone=dict(
    _delete_=True, type='mmseg.MobileNetV2', out_indices=(4, 6), strides=(1, 2, 2, 1, 1, 1, 1),
    dilations=(1, 1, 1, 2, 2, 4, 4)))
