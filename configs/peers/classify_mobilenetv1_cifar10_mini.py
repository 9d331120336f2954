# The mini twin of classify_mobilenetv1_cifar10.py.
_base_ = '../classify_mobileode_cifar10_mini.py'
model = dict(backbone=dict(_delete_=True, type='MobileNetV1', out_indices=(5, ), strides=(1, 1, 1, 2, 2, 2)))
