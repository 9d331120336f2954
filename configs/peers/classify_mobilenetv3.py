# mmpretrain's MobileNetV3-Large as a classifier, from scratch; everything else as with MobileODE V1.
_base_ = '../classify_mobileode.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV3', arch='large'))
