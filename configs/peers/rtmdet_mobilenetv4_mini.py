# The mini twin of rtmdet_mobilenetv4.py.
_base_ = '../rtmdet_mobileode_mini.py'
model = dict(backbone=dict(_delete_=True, type='TimmFeatures', name='mobilenetv4_conv_small', strides=(8, 16, 32)))
