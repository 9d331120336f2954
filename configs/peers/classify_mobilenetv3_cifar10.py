# mmpretrain's MobileNetV3-Large as a classifier on CIFAR-10; everything else as with MobileNetV2.
_base_ = './classify_mobilenetv2_cifar10.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV3', arch='large'))
