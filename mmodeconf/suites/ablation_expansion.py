"""Expansion e of the residual blocks of MobileODE V1 and V2, on mini detection and classification."""

_base_ = './mini.py'
tasks = dict(_delete_=True, detection=_base_.tasks.detection, classification=_base_.tasks.classification)
backbones = {
    '_delete_': True,
    'V1, e = 1': dict(config='mobileode', cfg_options={'model.backbone.expand_ratio': 1}),
    'V1, e = 4': dict(config='mobileode', cfg_options={'model.backbone.expand_ratio': 4}),
    'V1, e = 9': dict(config='mobileode', cfg_options={'model.backbone.expand_ratio': 9}),
    'V2, e = 1': dict(config='mobileode_v2', cfg_options={'model.backbone.expand_ratio': 1}),
    'V2, e = 4': dict(config='mobileode_v2', cfg_options={'model.backbone.expand_ratio': 4}),
}
