"""Classification on CIFAR-10: the released recipe at 32 px; stock peers see the images enlarged to 128 px."""

seeds = [0, 1, 2]
reference = 'MobileNetV2'
tasks = dict(classification=dict(
    configs='configs/classify_{}_cifar10.py', input_size=(32, 32), metrics=['accuracy/top1']))
backbones = {
    'MobileODE V1': dict(config='mobileode'),
    'MobileODE V2': dict(config='mobileode_v2'),
    'MobileNetV1': dict(config='mobilenetv1'),
    'MobileNetV2': dict(config='mobilenetv2', input_size=(128, 128)),
    'MobileNetV3-Large': dict(config='mobilenetv3', input_size=(128, 128)),
    'ShuffleNetV2': dict(config='mobilenetv2', input_size=(128, 128), cfg_options={'model.backbone': dict(
        _delete_=True, type='mmpretrain.ShuffleNetV2')}),
}
