# ssdlite_mobileode.py for 1, 2 and 3 steps in one checkpoint; --steps of test, infer and export chooses.
_base_ = './ssdlite_mobileode.py'
model = dict(backbone=dict(anytime=dict(steps=(1, 2, 3))))
