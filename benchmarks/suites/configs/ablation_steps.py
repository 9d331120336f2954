"""Number of Euler steps L of MobileODE V1's solvers, on mini classification."""

_base_ = './mini.py'
# Of all ablations, which have many runs: after two epochs V1 is at 84 %, V2 at 63 %.
tasks = dict(_delete_=True, classification=dict(_base_.tasks.classification, epochs=2, cfg_options={}))
reference = 'V1, L = 3'
backbones = {
    '_delete_': True,
    'V1, L = 1': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 1}),
    'V1, L = 2': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 2}),
    'V1, L = 3': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 3}),
    'V1, L = 10': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 10}),
}
