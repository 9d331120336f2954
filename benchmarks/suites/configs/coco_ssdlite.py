"""SSDLite on COCO 2017, 320 px, from scratch: the released recipe with MobileODE and its peers."""

seeds = [0]
reference = 'MobileNetV2'
tasks = dict(detection=dict(
    configs='configs/ssdlite_{}.py', input_size=(320, 320), metrics=['coco/bbox_mAP', 'coco/bbox_mAP_50']))
backbones = {
    'MobileODE V1': dict(config='mobileode'),
    'MobileODE V2': dict(config='mobileode_v2'),
    'MobileNetV1': dict(config='mobilenetv1'),
    'MobileNetV2': dict(config='mobilenetv2'),
    'MobileNetV3-Large': dict(config='mobilenetv3'),
    'ShuffleNetV2': dict(config='mobileode', cfg_options={'model.backbone': dict(
        _delete_=True, type='mmpretrain.ShuffleNetV2', out_indices=(1, 3))}),
}
