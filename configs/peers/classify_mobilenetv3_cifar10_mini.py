# The mini twin of classify_mobilenetv3_cifar10.py, with statistics that follow within few iterations, as those of
# ssdlite_mobilenetv3_mini.py.
_base_ = './classify_mobilenetv2_cifar10_mini.py'
model = dict(backbone=dict(
    _delete_=True, type='mmpretrain.MobileNetV3', arch='large', norm_cfg=dict(type='BN', eps=0.001, momentum=0.1)))
