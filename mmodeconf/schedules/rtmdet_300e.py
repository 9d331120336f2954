"""mmdet's schedule of RTMDet: AdamW, lr 4e-3 for 150 epochs and down to 2e-4 over 150 more, EMA.

The learning rate is for 8 GPUs x 32 images.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=10, dynamic_intervals=[(280, 1)])
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        T_max=150,
        begin=150,
        end=300,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=2e-4)
]
auto_scale_lr = dict(enable=False, base_batch_size=256)

custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=2e-4, update_buffers=True, priority=49),
]
