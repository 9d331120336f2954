# The mini twin of deeplabv3_mobilenetv1.py.
_base_ = '../deeplabv3_mobileode_mini.py'
model = dict(backbone=dict(
    _delete_=True, type='MobileNetV1', out_indices=(4, 5), strides=(2, 1, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2, 4)))
