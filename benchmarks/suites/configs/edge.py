"""What the edge preset costs in accuracy: V1, the preset and MobileNetV2 on the three mini tasks, three seeds."""

_base_ = './mini.py'
backbones = {
    '_delete_': True,
    'MobileODE V1': _base_.backbones['MobileODE V1'],
    'MobileODE V1 edge': dict(config='mobileode_edge'),
    'MobileNetV2': _base_.backbones['MobileNetV2'],
}
