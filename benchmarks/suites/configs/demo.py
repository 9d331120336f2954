"""MobileODE V1 and MobileNetV2 on the three mini tasks, one seed, with the configs as they are."""

mini_data = True
seeds = [0]
tasks = dict(
    detection=dict(
        configs='configs/ssdlite_{}_mini.py', input_size=(192, 192), metrics=['coco/bbox_mAP', 'coco/bbox_mAP_50']),
    segmentation=dict(configs='configs/deeplabv3_{}_mini.py', input_size=(96, 96), metrics=['mIoU']),
    classification=dict(configs='configs/classify_{}_mini.py', input_size=(64, 64), metrics=['accuracy/top1']))
backbones = {'MobileODE V1': dict(config='mobileode'), 'MobileNetV2': dict(config='mobilenetv2')}
