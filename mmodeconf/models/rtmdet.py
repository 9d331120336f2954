"""RTMDet with a slim neck and a separable head, all but the backbone: any with strides 8, 16 and 32, from which the
widths follow."""

model = dict(
    type='FittedDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    neck=dict(
        type='SlimPAFPN',
        out_channels=96,
        num_csp_blocks=1,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU')),
    bbox_head=dict(
        type='RTMDetLiteHead',
        num_classes=80,
        stacked_convs=2,
        feat_channels=96,
        # As RTMDet-l: a box begins by reaching one stride to each side, not as a point, which overlaps nothing.
        exp_on_reg=True,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU')),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1,
        debug=False),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.001,
        nms=dict(type='nms', iou_threshold=0.65),
        max_per_img=300))
