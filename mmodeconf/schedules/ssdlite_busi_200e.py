"""Schedule of the released SSD recipe for BUSI and faces: AdamW, lr 9e-4 (V1) to 1e-6 over 200 epochs, EMA.

The release's facts are the optimizer, the learning rates, the 500 iterations of warm-up from 9e-5, the weight decay
(BUSI 0.05, faces 0.07), the epochs and the EMA momentum. Assumed are that the EMA takes in running statistics, and that
the learning rate belongs to one batch of 16.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=9e-4, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        T_max=200,
        begin=0,
        end=200,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-6)
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(type='EMAHook', momentum=5e-4, update_buffers=True, priority=49),
]
