"""DeepLabV3 on Pascal VOC 2012 with SBD, output stride 8, from scratch: the released recipe."""

seeds = [0, 1, 2]
reference = 'MobileNetV2'
tasks = dict(segmentation=dict(configs='configs/deeplabv3_{}_aug.py', input_size=(512, 512), metrics=['mIoU']))
backbones = {
    'MobileODE V1': dict(config='mobileode'),
    'MobileODE V2': dict(config='mobileode_v2'),
    'MobileNetV1': dict(config='mobilenetv1'),
    'MobileNetV2': dict(config='mobilenetv2'),
    'MobileNetV3-Large': dict(config='mobilenetv3'),
    'RegNetX-400MF': dict(config='mobileode', cfg_options={'model.backbone': dict(
        _delete_=True, type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(2, 3), strides=(2, 2, 1, 1),
        dilations=(1, 1, 2, 4))}),
}
