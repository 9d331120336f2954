# The mini twin of classify_mobileode_anytime.py.
_base_ = './classify_mobileode_mini.py'
model = dict(backbone=dict(anytime=dict(steps=(1, 2, 3))))
