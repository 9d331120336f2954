"""The three mini tasks with MobileODE V1, V2 and their peers, three seeds, all on the mini data alone.

Detectors and segmentors start from the backbone that the classification with their seed has left: from scratch, in the
few minutes that a run may take here, the peers hardly begin to learn. For the same reason the classifiers see fewer
colours than with the mini configs, and have a longer warm-up: otherwise MobileNetV1 or V3 may be at chance for as long
as three epochs. Schedules are shorter, so that all runs fit into two hours on two cores.
"""

mini_data = True
reference = 'MobileNetV2'
seeds = [0, 1, 2]
tasks = dict(
    classification=dict(
        configs='configs/classify_{}_mini.py',
        input_size=(64, 64),
        metrics=['accuracy/top1'],
        epochs=4,
        cfg_options={
            'param_scheduler.0.start_factor': 0.01,
            'param_scheduler.0.end': 300,
            'optim_wrapper.clip_grad.max_norm': 10,
            # Colours as they are, no negatives.
            'train_dataloader.dataset.pipeline.4.saturation': 0.,
            'train_dataloader.dataset.pipeline.4.hue': 0.,
            'train_dataloader.dataset.pipeline.5.prob': 0.,
        }),
    detection=dict(
        starts_from='classification',
        configs='configs/ssdlite_{}_mini.py',
        input_size=(192, 192),
        metrics=['coco/bbox_mAP', 'coco/bbox_mAP_50'],
        epochs=2,
        cfg_options={'train_dataloader.batch_size': 8}),
    segmentation=dict(
        starts_from='classification',
        configs='configs/deeplabv3_{}_mini.py',
        input_size=(96, 96),
        metrics=['mIoU'],
        epochs=3))
backbones = {
    'MobileODE V1': dict(config='mobileode'),
    'MobileODE V2': dict(config='mobileode_v2'),
    'MobileNetV1': dict(config='mobilenetv1'),
    # mmdet's own names its parts otherwise than mmpretrain's, whose weights it is to start from.
    'MobileNetV2': dict(config='mobilenetv2', detection={'model.backbone.type': 'mmpretrain.MobileNetV2'}),
    'MobileNetV3-Large': dict(config='mobilenetv3'),
    # Beside the MobileNets it is the light network of mmpretrain that dilates, as DeepLabV3 at output stride 8 needs.
    'RegNetX-400MF': dict(
        config='mobileode',
        detection={'model.backbone': dict(
            _delete_=True, type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(2, 3))},
        segmentation={'model.backbone': dict(
            _delete_=True, type='mmpretrain.RegNet', arch='regnetx_400mf', out_indices=(2, 3),
            strides=(2, 2, 1, 1), dilations=(1, 1, 2, 4))},
        classification={'model.backbone': dict(_delete_=True, type='mmpretrain.RegNet', arch='regnetx_400mf')}),
}
