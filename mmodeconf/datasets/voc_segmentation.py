"""Pascal VOC 2012 segmentation: crops of 512 px in training, whole images in validation.

``train_dataset`` is VOC's own training set. ``aug_dataset`` is what SBD adds to it, in the layout of mmseg's
converter; the two make the augmented training set.
"""

dataset_type = 'PascalVOCDataset'
data_root = 'data/VOCdevkit/VOC2012/'
crop_size = (512, 512)

# The short side is drawn from 256 to 768 px. What rotation and padding uncover is grey and counts for no class.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=[(2048, 256), (2048, 768)], keep_ratio=True),
    dict(type='RandomRotate', prob=0.5, degree=10, pad_val=(104, 116, 124), seg_pad_val=255),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Pad', size=crop_size, pad_val=dict(img=(104, 116, 124), seg=255)),
    dict(type='PackSegInputs')
]
# Label maps are loaded after resizing: predictions are scaled back and compared in the image's own pixels.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]

train_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/train.txt',
    pipeline=train_pipeline)
aug_dataset = dict(
    type=dataset_type,
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
    ann_file='ImageSets/Segmentation/aug.txt',
    pipeline=train_pipeline)

# drop_last: batch norm after the ASPP's pooling cannot train on a last batch of one image.
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=train_dataset)
# One by one: whole images differ in size.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
