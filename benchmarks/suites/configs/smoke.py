"""The cut of `mini` that shows in minutes that all works: two backbones, one seed, no figures to quote."""

_base_ = './mini.py'
seeds = [0]
tasks = dict(classification=dict(epochs=1), detection=dict(epochs=1), segmentation=dict(epochs=1))
backbones = {
    '_delete_': True,
    'MobileODE V1': _base_.backbones['MobileODE V1'],
    'MobileNetV2': _base_.backbones['MobileNetV2'],
}
