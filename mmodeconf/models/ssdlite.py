"""SSDLite at 320 px, all but the backbone: any with strides 16 and 32, from which the widths follow."""

model = dict(
    type='SSDLite',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1),
    neck=dict(
        type='SSDLiteNeck',
        out_channels=(512, 256, 256, 128, 128, 64),
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU')),
    bbox_head=dict(
        type='SSDLiteHead',
        num_classes=80,
        use_depthwise=True,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU'),
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.001),
        # Seven scales spread evenly from 0.1 to 1.05 of 320 px: a map's first square anchor has its scale,
        # the second the geometric mean with the next. Strides are 320 px over the map's side.
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[16, 32, 64, 320 / 3, 160, 320],
            ratios=[[2, 3], [2, 3], [2, 3], [2, 3], [2, 3], [2]],
            min_sizes=[32, 248 / 3, 400 / 3, 184, 704 / 3, 856 / 3],
            max_sizes=[248 / 3, 400 / 3, 184, 704 / 3, 856 / 3, 336]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[.0, .0, .0, .0],
            target_stds=[0.1, 0.1, 0.2, 0.2])),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.,
            ignore_iof_thr=-1,
            gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False),
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.45),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=200))
