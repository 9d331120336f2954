"""Mini crops (one handwritten digit on a photograph) at 64 px, a folder for each class.

No flipping: a mirrored digit is another digit. No ``classes`` either: mmpretrain numbers the folders in the
order of their names (eight, five, four, ...), whatever order is given.
"""

dataset_type = 'CustomDataset'
data_root = 'data/mini/classification/'
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='NumpyToPIL', to_rgb=True),
    dict(
        type='torchvision/RandomAffine',
        degrees=10,
        translate=(0.06, 0.06),
        scale=(0.85, 1.1),
        shear=8,
        interpolation='bilinear',
        fill=(124, 116, 104)),
    dict(type='PILToNumpy', to_bgr=True),
    dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.5, hue=0.5, backend='cv2'),
    dict(type='Invert', prob=0.5),
    dict(type='PackInputs')
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix='val', test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
