"""One checkpoint of V1 for 1, 2 and 3 steps beside networks for one number alone, mini data and photographs of trees.

Detectors of the photographs train and are tested as in the suite `trees`. A run of the one checkpoint is tested with
the largest number; `python -m benchmarks.studies.anytime` measures the others.
"""

_base_ = './mini.py'
tree_data = True
tasks = dict(
    _delete_=True,
    classification=_base_.tasks.classification,
    detection=_base_.tasks.detection,
    trees=dict(_base_.tasks.detection, configs='configs/ssdlite_mobileode_trees.py', epochs=24, val_interval=3,
               cfg_options={}))
reference = 'V1, L = 3'
backbones = {
    '_delete_': True,
    'V1 anytime': dict(config='mobileode_anytime', trees={'model.backbone.anytime': dict(steps=(1, 2, 3))}),
    'V1, L = 1': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 1}),
    'V1, L = 2': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 2}),
    'V1, L = 3': dict(config='mobileode', cfg_options={'model.backbone.num_steps': 3}),
}
