"""ADE20K's 150 classes: crops of 256 px in training, whole images in validation.

Released facts are the crop, the range of the short side, the rotation, that colours are distorted and Gaussian noise is
added, and the batch of 4. Assumed are the strength of both, how often an image is rotated and noisy, flipping, and the
short side of 512 px in validation.
"""

dataset_type = 'ADE20KDataset'
data_root = 'data/ade/ADEChallengeData2016/'
crop_size = (256, 256)

# What rotation and padding uncover is grey and counts for no class. Label 0 of the files is void.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=[(2048, 256), (2048, 768)], keep_ratio=True),
    dict(type='RandomRotate', prob=0.5, degree=10, pad_val=(104, 116, 124), seg_pad_val=255),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='GaussianNoise', prob=0.5, max_std=10.0),
    dict(type='Pad', size=crop_size, pad_val=dict(img=(104, 116, 124), seg=255)),
    dict(type='PackSegInputs')
]
# Label maps are loaded after resizing: predictions are scaled back and compared in the image's own pixels.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs')
]

# drop_last: batch norm after the ASPP's pooling cannot train on a last batch of one image.
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline))
# One by one: whole images differ in size.
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
