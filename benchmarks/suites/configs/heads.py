"""SSDLite and RTMDet's head on the same backbones, mini detection, three seeds.

Detectors start from the backbone that the classification with their seed has left. RTMDet's head learns its classes
later than SSDLite's: both train for three times the epochs of the mini suite. The classifications are those of the
suite `peers`, from whose folder they may be copied.
"""

_base_ = './mini.py'
tasks = dict(
    _delete_=True,
    classification=dict(_base_.tasks.classification, val_interval=1),
    ssdlite=dict(_base_.tasks.detection, epochs=6, val_interval=1),
    rtmdet=dict(_base_.tasks.detection, epochs=6, val_interval=1, configs='configs/rtmdet_{}_mini.py'))
backbones = {
    '_delete_': True,
    'MobileODE V1': dict(config='mobileode'),
    # mmdet's own names its parts otherwise than mmpretrain's, whose weights it is to start from.
    'MobileNetV2': dict(config='mobilenetv2', ssdlite={'model.backbone.type': 'mmpretrain.MobileNetV2'},
                        rtmdet={'model.backbone.type': 'mmpretrain.MobileNetV2'}),
    'MobileNetV4-small': dict(config='timm.mobilenetv4_conv_small'),
}
