# DeepLabV3 with MobileNetV1, from scratch; everything else as with MobileODE V1.
_base_ = '../deeplabv3_mobileode.py'
model = dict(backbone=dict(
    _delete_=True, type='MobileNetV1', out_indices=(4, 5), strides=(2, 1, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2, 4)))
