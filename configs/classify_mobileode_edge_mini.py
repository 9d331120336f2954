# The mini twin of classify_mobileode_edge.py.
_base_ = './classify_mobileode_mini.py'
model = dict(
    backbone=dict(sides=(8, 8, 16, 24, 24), num_steps=1, solver_norm='channel', act_cfg=dict(type='ReLU')))
