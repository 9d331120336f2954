# DeepLabV3 with the backbone of ssdlite_mobileode_edge.py; everything else as with MobileODE V1.
_base_ = './deeplabv3_mobileode.py'
model = dict(
    backbone=dict(sides=(8, 8, 16, 24, 24), num_steps=1, solver_norm='channel', act_cfg=dict(type='ReLU')))
