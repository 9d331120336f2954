"""Schedule of the released SSD recipe: AdamW, lr 1.2e-3 to 1e-6 over 200 epochs, EMA.

The release's facts are the optimizer, both learning rates, the 500 iterations of warm-up, the weight decay,
the epochs and the EMA momentum. Assumed are where the warm-up starts, that the EMA takes in running
statistics, and the batch that the learning rate belongs to: 4 GPUs x 32.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1.2e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        T_max=200,
        begin=0,
        end=200,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-6)
]
auto_scale_lr = dict(enable=False, base_batch_size=128)

custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='EMAHook', momentum=5e-4, update_buffers=True, priority=49),
]
