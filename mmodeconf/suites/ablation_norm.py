"""Position norm against channel norm inside the solvers of MobileODE V1 and V2, on the three mini tasks."""

_base_ = './mini.py'
backbones = {
    '_delete_': True,
    'V1, position norm': dict(config='mobileode', cfg_options={'model.backbone.solver_norm': 'position'}),
    'V1, channel norm': dict(config='mobileode', cfg_options={'model.backbone.solver_norm': 'channel'}),
    'V2, position norm': dict(config='mobileode_v2', cfg_options={'model.backbone.solver_norm': 'position'}),
    'V2, channel norm': dict(config='mobileode_v2', cfg_options={'model.backbone.solver_norm': 'channel'}),
}
