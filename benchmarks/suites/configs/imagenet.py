"""Classification on ImageNet-1k, 256 px: the released recipe."""

seeds = [0]
reference = 'MobileNetV2'
tasks = dict(classification=dict(
    configs='configs/classify_{}.py', input_size=(256, 256), metrics=['accuracy/top1', 'accuracy/top5']))
backbones = {
    'MobileODE V1': dict(config='mobileode'),
    'MobileODE V2': dict(config='mobileode_v2'),
    'MobileNetV1': dict(config='mobilenetv1'),
    'MobileNetV2': dict(config='mobilenetv2'),
    'MobileNetV3-Large': dict(config='mobilenetv3'),
    'ShuffleNetV2': dict(config='mobileode', cfg_options={'model.backbone': dict(
        _delete_=True, type='mmpretrain.ShuffleNetV2')}),
}
