"""Minutes on two CPU cores: 24 epochs of the mini data, which are 1,200 iterations of 8 images."""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=24, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=5), auxiliary_head=dict(lr_mult=5))),
    clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=30),
    dict(
        type='CosineAnnealingLR',
        T_max=24,
        begin=0,
        end=24,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-5)
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
