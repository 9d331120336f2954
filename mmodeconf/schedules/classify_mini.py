"""Minutes on two CPU cores: the released recipe, its warm-up and the EMA's memory shortened to fit the run."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR',
        T_max=10,
        begin=0,
        end=10,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-5)
]
auto_scale_lr = dict(enable=False, base_batch_size=32)

custom_hooks = [dict(type='EMAHook', momentum=0.02, update_buffers=True)]
