"""Aerial photographs of trees, tested on others than trained on: MobileODE and eight peers, three seeds.

Classifiers of the mini digits first, from whose backbone the detectors of the same seed start: from scratch the first
epochs find nothing. These are those of the suite `peers`, from whose folder they may be copied. Most peers are timm's
(`pip install timm`), without its weights. The photographs are made where they are absent, which fetches 20 MB:
`python -m benchmarks.tree_parts`.
"""

_base_ = './peers.py'
tree_data = True
tasks = dict(
    _delete_=True,
    classification=dict(_base_.tasks.classification, val_interval=1),
    trees=dict(_base_.tasks.detection, configs='configs/ssdlite_mobileode_trees.py', epochs=24, val_interval=3,
               cfg_options={}))
backbones = {
    '_delete_': True,
    'MobileODE V1': dict(config='mobileode'),
    'MobileODE V2': dict(config='mobileode_v2', trees={'model.backbone.type': 'MobileODEV2'}),
    'MobileODE V1 edge': dict(config='mobileode_edge', trees={
        'model.backbone.sides': (8, 8, 16, 24, 24), 'model.backbone.num_steps': 1,
        'model.backbone.solver_norm': 'channel', 'model.backbone.act_cfg': dict(type='ReLU')}),
    'MobileNetV2': dict(config='mobilenetv2', trees={'model.backbone': dict(
        _delete_=True, type='mmpretrain.MobileNetV2', out_indices=(2, 4, 7))}),
    'MobileNetV3-Large': dict(config='mobilenetv3', trees={'model.backbone': dict(
        _delete_=True, type='mmpretrain.MobileNetV3', arch='large', out_indices=(6, 12, 16),
        norm_cfg=dict(type='BN', eps=0.001, momentum=0.1))}),
    **{name: _base_.backbones[name] for name in (
        'MobileNetV4-small', 'GhostNetV2', 'VoVNet-19-slim-dw', 'RepViT-M0.9', 'StarNet-S100', 'MobileOne-S0')},
}
