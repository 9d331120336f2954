# deeplabv3_mobileode.py at output stride 16, the ASPP's rates halved with the map.
_base_ = './deeplabv3_mobileode.py'
model = dict(
    backbone=dict(strides=(2, 1, 2, 2, 2, 1), dilations=(1, 1, 1, 1, 1, 2)),
    decode_head=dict(dilations=(1, 6, 12, 18)))
