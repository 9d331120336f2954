"""Learned step lengths Δt against fixed ones of 1/L in MobileODE V1, on mini classification."""

_base_ = './ablation_steps.py'
reference = 'V1, learned'
backbones = {
    '_delete_': True,
    'V1, learned': dict(config='mobileode', cfg_options={'model.backbone.learnable_step': True}),
    'V1, fixed': dict(config='mobileode', cfg_options={'model.backbone.learnable_step': False}),
}
