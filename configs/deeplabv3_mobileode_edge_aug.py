# deeplabv3_mobileode_edge.py on the augmented training set: VOC 2012 and SBD.
_base_ = './deeplabv3_mobileode_aug.py'
model = dict(
    backbone=dict(sides=(8, 8, 16, 24, 24), num_steps=1, solver_norm='channel', act_cfg=dict(type='ReLU')))
