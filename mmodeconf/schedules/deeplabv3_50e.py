"""Schedule of the released segmentation recipe: AdamW, lr 9e-4 to 1e-6 over 50 epochs, ten times that in the heads.

The release's facts are the optimizer, the learning rates, the 500 iterations of warm-up, the weight decay and the
epochs. Assumed are where the warm-up starts, and the batch that the learning rate belongs to: 4 GPUs x 8.
"""

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=50, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=9e-4, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10), auxiliary_head=dict(lr_mult=10))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        T_max=50,
        begin=0,
        end=50,
        by_epoch=True,
        convert_to_iter_based=True,
        eta_min=1e-6)
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
