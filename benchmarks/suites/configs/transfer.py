"""SSDLite-MobileODE V1 from the backbone of a classifier of digits and from scratch, mini detection, three seeds.

The classification is that of the suite `peers`. Both detectors train as the mini config says: six epochs of 50
iterations of 16 images.
"""

_base_ = './mini.py'
_detection = dict(configs='configs/ssdlite_{}_mini.py', input_size=(192, 192),
                  metrics=['coco/bbox_mAP', 'coco/bbox_mAP_50'], val_interval=2)
tasks = dict(
    _delete_=True,
    classification=dict(_base_.tasks.classification, val_interval=1),
    **{'detection from scratch': _detection,
       'detection from the classifier': dict(_detection, starts_from='classification')})
backbones = {'_delete_': True, 'MobileODE V1': _base_.backbones['MobileODE V1']}
reference = None
del _detection
