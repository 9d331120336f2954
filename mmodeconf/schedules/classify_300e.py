"""Schedule of the released classification recipe: AdamW, lr 2e-3 to 2e-4 over 300 epochs, EMA.

The release's facts are the optimizer, both learning rates, the 20,000 iterations of warm-up from 2e-4, the
weight decay, the epochs and the EMA momentum. Assumed are that the cosine falls during the warm-up too, that
the EMA takes in running statistics, and the batch that the learning rate belongs to: 8 GPUs x 128 on
ImageNet-1k, and 128 on CIFAR-10, where larger batches would spend much of the run, or all of it, on the
warm-up.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20000),
    dict(
        type='CosineAnnealingLR',
        T_max=300,
        begin=0,
        end=300,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=2e-4)
]
auto_scale_lr = dict(enable=False, base_batch_size=1024)

custom_hooks = [dict(type='EMAHook', momentum=5e-4, update_buffers=True)]
