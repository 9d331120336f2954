"""MobileODE beside the light networks of 2017 to 2025 on the mini data, all from scratch with one recipe, three seeds.

The mini suite's tasks with a validation after each epoch. Most peers are timm's (`pip install timm`), without its
weights. They are of the sizes that their papers start at, which are larger than MobileODE V1; two of half width and
StarNet-S100 stand beside it. Segmentation is for those that can be dilated. Networks whose branches are added up for
inference (MobileOne, RepViT, EfficientViT, LCNetV2) are counted and timed so.
"""

_base_ = './mini.py'
tasks = dict(
    classification=dict(val_interval=1), detection=dict(val_interval=1), segmentation=dict(val_interval=1))
backbones = {
    '_delete_': True,
    'MobileODE V1': _base_.backbones['MobileODE V1'],
    'MobileODE V2': _base_.backbones['MobileODE V2'],
    'MobileODE V1 edge': dict(config='mobileode_edge'),
    'MobileODE V1 anytime': dict(config='mobileode_anytime'),
    'MobileNetV1': _base_.backbones['MobileNetV1'],
    'MobileNetV2': _base_.backbones['MobileNetV2'],
    'MobileNetV2 x0.5': dict(config='timm.mobilenetv2_050'),
    'MobileNetV3-Large': _base_.backbones['MobileNetV3-Large'],
    'MobileNetV4-small': dict(config='timm.mobilenetv4_conv_small'),
    'MobileNetV4-small x0.5': dict(config='timm.mobilenetv4_conv_small_050'),
    'GhostNetV2': dict(config='timm.ghostnetv2_100'),
    'VoVNet-19-slim-dw': dict(config='timm.ese_vovnet19b_slim_dw'),
    'RepViT-M0.9': dict(config='timm.repvit_m0_9'),
    'StarNet-S1': dict(config='timm.starnet_s1'),
    'StarNet-S100': dict(config='timm.starnet_s100'),
    'MobileOne-S0': dict(config='timm.mobileone_s0'),
    'LCNetV2-small': dict(config='timm.lcnetv2_small'),
    'EfficientViT-M0': dict(config='timm.efficientvit_m0'),
    'EdgeNeXt-XXS': dict(config='timm.edgenext_xx_small'),
}
