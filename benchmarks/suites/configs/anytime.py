"""One checkpoint of V1 for 1, 2 and 3 steps beside networks for one number alone, mini classification and detection.

A run of the first is tested with the largest number; `python -m benchmarks.studies.anytime` measures the others.
"""

_base_ = './mini.py'
tasks = dict(_delete_=True, classification=_base_.tasks.classification, detection=_base_.tasks.detection)
reference = 'V1, L = 3'
backbones = {
    '_delete_': True,
    'V1 anytime': dict(config='mobileode_anytime'),
    'V1, L = 1': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 1}),
    'V1, L = 2': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 2}),
    'V1, L = 3': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 3}),
}
