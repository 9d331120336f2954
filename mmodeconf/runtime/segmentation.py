"""What runs of a segmentor have besides ``default.py``: scope, imports, hooks, drawing."""

default_scope = 'mmseg'
custom_imports = dict(
    imports=['mobileode_mm.backbones', 'mobileode_mm.segmentation'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=25, log_metric_by_epoch=True),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='mIoU', rule='greater'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Predictions are drawn by `tools/test.py --show-dir`, and on the sheet at the end of a training.
    visualization=dict(type='SegVisualizationHook', draw=False))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
