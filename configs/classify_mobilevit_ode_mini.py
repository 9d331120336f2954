# The mini twin of classify_mobilevit_ode.py.
_base_ = './classify_mobileode_mini.py'
model = dict(backbone=dict(type='MobileViTODE'))
