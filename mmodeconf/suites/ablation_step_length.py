"""Learned step lengths Δt against fixed ones of 1/L, V1 and V2, on mini detection and classification."""

_base_ = './mini.py'
tasks = dict(_delete_=True, detection=_base_.tasks.detection, classification=_base_.tasks.classification)
backbones = {
    '_delete_': True,
    'V1, learned': dict(config='mobileode', cfg_options={'model.backbone.learnable_step': True}),
    'V1, fixed': dict(config='mobileode', cfg_options={'model.backbone.learnable_step': False}),
    'V2, learned': dict(config='mobileode_v2', cfg_options={'model.backbone.learnable_step': True}),
    'V2, fixed': dict(config='mobileode_v2', cfg_options={'model.backbone.learnable_step': False}),
}
