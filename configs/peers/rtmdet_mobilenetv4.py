# RTMDet's head and a slim neck on timm's MobileNetV4-small, COCO 2017, 320 px.
_base_ = '../rtmdet_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='TimmFeatures', name='mobilenetv4_conv_small', strides=(8, 16, 32)))
