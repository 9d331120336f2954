"""Minutes on two CPU cores: 6 epochs of the mini data, which are 300 iterations of 16 images.

No EMA: at the full schedule's momentum its memory, 2,000 iterations, is longer than the run.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=30),
    dict(
        type='CosineAnnealingLR',
        T_max=6,
        begin=0,
        end=6,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-5)
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
]
