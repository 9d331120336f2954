# The mini twin of deeplabv3_mobileode_anytime.py.
_base_ = './deeplabv3_mobileode_mini.py'
model = dict(backbone=dict(anytime=dict(steps=(1, 2, 3))))
