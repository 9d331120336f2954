"""SSDLite-MobileODE V1 from scratch, from a classifier of digits, and with COS in neck and head; three seeds.

The classification is that of the suite `peers`. All detectors train as the mini config says: six epochs of 50
iterations of 16 images. COS in neck and head starts from the classifier's backbone too.
"""

_base_ = './mini.py'
_scratch = dict(configs='configs/ssdlite_{}_mini.py', input_size=(192, 192),
                metrics=['coco/bbox_mAP', 'coco/bbox_mAP_50'], val_interval=2)
_transferred = dict(_scratch, starts_from='classification')
tasks = dict(
    _delete_=True,
    classification=dict(_base_.tasks.classification, val_interval=1),
    **{'detection from scratch': _scratch,
       'detection': _transferred,
       'detection, COS in neck and head': dict(_transferred, configs='configs/ssdlite_{}_full_mini.py')})
backbones = {'_delete_': True, 'MobileODE V1': _base_.backbones['MobileODE V1']}
reference = None
del _scratch, _transferred
