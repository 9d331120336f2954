"""Position norm against channel norm inside the solvers of MobileODE V1, on mini classification."""

_base_ = './ablation_steps.py'
reference = 'V1, position norm'
backbones = {
    '_delete_': True,
    'V1, position norm': dict(config='mobileode', cfg_options={'model.backbone.solver_norm': 'position'}),
    'V1, channel norm': dict(config='mobileode', cfg_options={'model.backbone.solver_norm': 'channel'}),
}
