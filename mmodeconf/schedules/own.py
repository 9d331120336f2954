"""Training from scratch on small data sets: AdamW, a warm-up, a cosine, averaged weights, and an early end.

``mobileode fit`` sets the length; where another is typed, ``max_epochs`` and the cosine's ``T_max`` and ``end`` belong
together.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=8)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=100,
        begin=0,
        end=100,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-5)
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

custom_hooks = [
    # Over the last tenth of all iterations, or the last hundred. A plain average keeps some of the running variances
    # that norms begin with, 1, for hundreds of iterations: where a trained one is a thousandth, they are most of it.
    dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.01, gamma=10, update_buffers=True, priority=49)
]
