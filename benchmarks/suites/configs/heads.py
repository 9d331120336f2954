"""SSDLite and RTMDet's head on the same backbones, mini detection and photographs of trees, three seeds.

Detectors start from the backbone that the classification with their seed has left. RTMDet's head learns the digits'
classes later than SSDLite's: both train for three times the epochs of the mini suite. The photographs are those of the
suite `trees`, with its schedule. Classifications are those of the suite `peers`, and the trees with SSDLite those of
`trees`: they may be copied from there.
"""

_base_ = './trees.py'
_digits = dict(_base_.tasks.trees, epochs=6, val_interval=1, cfg_options={'train_dataloader.batch_size': 8})
tasks = dict(
    ssdlite=dict(_digits, configs='configs/ssdlite_{}_mini.py'),
    rtmdet=dict(_digits, configs='configs/rtmdet_{}_mini.py'),
    rtmdet_trees=dict(_base_.tasks.trees, configs='configs/rtmdet_mobileode_trees.py'))
_cspnext = dict(_delete_=True, type='mmdet.CSPNeXt', deepen_factor=0.167, widen_factor=0.25)
backbones = {
    '_delete_': True,
    'MobileODE V1': _base_.backbones['MobileODE V1'],
    # mmdet's own names its parts otherwise than mmpretrain's, whose weights it is to start from.
    'MobileNetV2': dict(
        _base_.backbones['MobileNetV2'],
        ssdlite={'model.backbone.type': 'mmpretrain.MobileNetV2'},
        rtmdet={'model.backbone.type': 'mmpretrain.MobileNetV2'},
        rtmdet_trees=_base_.backbones['MobileNetV2'].trees),
    'MobileNetV4-small': _base_.backbones['MobileNetV4-small'],
    'CSPNeXt, narrow': dict(
        config='mobileode',
        # With the recipe's rate, 0.002, its loss stays that of ten equal scores for all four epochs, and with a quarter
        # of it one of two seeds' did so too.
        classification={'model.backbone': dict(_cspnext, out_indices=(4, )), 'optim_wrapper.optimizer.lr': 0.0005,
                        'train_cfg.max_epochs': 8, 'param_scheduler.1.T_max': 8, 'param_scheduler.1.end': 8},
        ssdlite={'model.backbone': dict(_cspnext, out_indices=(3, 4))},
        rtmdet={'model.backbone': _cspnext},
        trees={'model.backbone': _cspnext},
        rtmdet_trees={'model.backbone': _cspnext}),
}
del _digits, _cspnext
