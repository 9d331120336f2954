# SSDLite with MobileODE V1 for onnxruntime and its like: one step, the channel norm and ReLU, which become part of
# convolutions there, and 64 channels instead of 144 in stage 2, whose maps are the largest that solvers read.
_base_ = './ssdlite_mobileode.py'
model = dict(
    backbone=dict(sides=(8, 8, 16, 24, 24), num_steps=1, solver_norm='channel', act_cfg=dict(type='ReLU')))
