"""Euler steps against those of higher order, for the same dynamics: MobileODE V1 on mini classification.

At equal L the cost is another: Heun's and the midpoint method evaluate the dynamics twice a step, the classic
Runge-Kutta method four times. So Euler is there with twice the steps as well.
"""

_base_ = './ablation_steps.py'
reference = 'V1, Euler'
backbones = {
    '_delete_': True,
    'V1, Euler': dict(config='mobileode', cfg_options={'model.backbone.solver': 'euler'}),
    'V1, Euler, L = 6': dict(
        config='mobileode', cfg_options={'model.backbone.solver': 'euler', 'model.backbone.num_steps': 6}),
    'V1, midpoint': dict(config='mobileode', cfg_options={'model.backbone.solver': 'midpoint'}),
    'V1, Heun': dict(config='mobileode', cfg_options={'model.backbone.solver': 'heun'}),
    'V1, RK4': dict(config='mobileode', cfg_options={'model.backbone.solver': 'rk4'}),
}
