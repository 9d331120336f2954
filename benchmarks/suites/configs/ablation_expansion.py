"""Expansion e of the residual blocks of MobileODE V1, on mini classification."""

_base_ = './ablation_steps.py'
reference = 'V1, e = 1'
backbones = {
    '_delete_': True,
    'V1, e = 1': dict(config='mobileode', cfg_options={'model.backbone.expand_ratio': 1}),
    'V1, e = 4': dict(config='mobileode', cfg_options={'model.backbone.expand_ratio': 4}),
    'V1, e = 9': dict(config='mobileode', cfg_options={'model.backbone.expand_ratio': 9}),
}
