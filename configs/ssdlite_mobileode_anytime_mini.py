# The mini twin of ssdlite_mobileode_anytime.py.
_base_ = './ssdlite_mobileode_mini.py'
model = dict(backbone=dict(anytime=dict(steps=(1, 2, 3))))
