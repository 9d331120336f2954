# The mini twin of deeplabv3_mobileode_os16.py.
_base_ = './deeplabv3_mobileode_mini.py'
model = dict(
    backbone=dict(strides=(2, 1, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1, 2)),
    decode_head=dict(dilations=(1, 2, 3)))
