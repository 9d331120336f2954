"""The cut of `mini` that shows in minutes that all works: two backbones, one seed, no figures to quote."""

_base_ = './mini.py'
seeds = [0]
one_epoch = {
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 1,
    'param_scheduler.1.T_max': 1,
    'param_scheduler.1.end': 1,
}
tasks = dict(
    classification=dict(cfg_options=one_epoch),
    detection=dict(cfg_options=one_epoch),
    segmentation=dict(cfg_options=one_epoch))
backbones = {
    '_delete_': True,
    'MobileODE V1': _base_.backbones['MobileODE V1'],
    'MobileNetV2': _base_.backbones['MobileNetV2'],
}
# The suite knows no such key.
del one_epoch
