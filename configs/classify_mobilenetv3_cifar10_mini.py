# The mini twin of classify_mobilenetv3_cifar10.py.
_base_ = './classify_mobilenetv2_cifar10_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV3', arch='large'))
