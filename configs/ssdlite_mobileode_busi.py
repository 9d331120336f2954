# SSDLite with MobileODE V1, BUSI (breast ultrasound) in COCO's format, 320 px.
_base_ = [
    '../mmodeconf/models/ssdlite.py',
    '../mmodeconf/datasets/busi_detection.py',
    '../mmodeconf/schedules/ssdlite_busi_200e.py',
    '../mmodeconf/runtime/default.py',
    '../mmodeconf/runtime/detection.py',
]
model = dict(
    backbone=dict(type='MobileODEV1', out_indices=(4, 5), input_size=320, act_cfg=dict(type='SiLU')),
    bbox_head=dict(num_classes=2),
    test_cfg=dict(nms=dict(iou_threshold=0.5)))
