"""Resize of p×p to q×q inside the solvers of MobileODE V2, on mini classification."""

_base_ = './ablation_steps.py'
reference = 'V2, bilinear'
backbones = {
    '_delete_': True,
    'V2, bilinear': dict(config='mobileode_v2', cfg_options={'model.backbone.resize_mode': 'bilinear'}),
    'V2, nearest': dict(config='mobileode_v2', cfg_options={'model.backbone.resize_mode': 'nearest'}),
    'V2, bicubic': dict(config='mobileode_v2', cfg_options={'model.backbone.resize_mode': 'bicubic'}),
}
