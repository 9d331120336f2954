# SSDLite with MobileODE V1, faces in COCO's format, 320 px: as on BUSI, but for the weight decay. The release does not
# say which set of faces; assumed are the file names and one class.
_base_ = './ssdlite_mobileode_busi.py'
data_root = 'data/faces/'
metainfo = dict(classes=('face', ))
train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
model = dict(bbox_head=dict(num_classes=1))
optim_wrapper = dict(optimizer=dict(weight_decay=0.07))
