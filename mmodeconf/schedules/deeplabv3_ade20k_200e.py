"""Schedule of the released recipe for ADE20K: SGD, lr 0.02 to 1e-4 over 200 epochs, EMA.

The release's facts are the optimizer, its momentum, both learning rates, the weight decay and that norms and biases
have none, the epochs and the EMA momentum. Assumed are that there is no warm-up, that the heads learn at the same rate,
that the EMA takes in running statistics, and that the learning rate belongs to one batch of 4.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=200,
        begin=0,
        end=200,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-4)
]
auto_scale_lr = dict(enable=False, base_batch_size=4)

custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True)]
