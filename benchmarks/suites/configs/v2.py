"""Why MobileODE V2 learns slowly: resize, gain, initial values of K and L, mini classification and detection.

Eight and four epochs, where the mini suite has four and two, for curves to flatten. Detectors start from the backbone
that the classification with their seed has left. V1 is the landmark.
"""

_base_ = './mini.py'
tasks = dict(
    _delete_=True,
    classification=dict(_base_.tasks.classification, epochs=8, val_interval=1),
    detection=dict(_base_.tasks.detection, epochs=4, val_interval=1))
reference = 'V2'
backbones = {
    '_delete_': True,
    'V2': dict(config='mobileode_v2'),
    'V2, bicubic': dict(config='mobileode_v2', cfg_options={'model.backbone.resize_mode': 'bicubic'}),
    'V2, gain': dict(config='mobileode_v2', cfg_options={'model.backbone.expand_gain': 0.5}),
    'V2, gain, bicubic': dict(config='mobileode_v2', cfg_options={
        'model.backbone.expand_gain': 0.5, 'model.backbone.resize_mode': 'bicubic'}),
    'V2, K of 0.3': dict(config='mobileode_v2', cfg_options={'model.backbone.expand_init': 0.3}),
    'V2, L = 1': dict(config='mobileode_v2', cfg_options={'model.backbone.num_steps': 1}),
    'V1': dict(config='mobileode'),
}
