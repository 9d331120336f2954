"""The cut of `mini` that shows in minutes that all works: two backbones, one seed, no figures to quote."""

_base_ = './mini.py'
seeds = [0]
tasks = dict(
    detection=dict(cfg_options={
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'param_scheduler.1.T_max': 1,
        'param_scheduler.1.end': 1,
    }),
    segmentation=dict(cfg_options={
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'param_scheduler.1.T_max': 1,
        'param_scheduler.1.end': 1,
    }),
    classification=dict(cfg_options={
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'param_scheduler.1.T_max': 1,
        'param_scheduler.1.end': 1,
    }))
backbones = {
    '_delete_': True,
    'MobileODE V1': dict(config='mobileode'),
    'MobileNetV2': dict(config='mobilenetv2'),
}
