"""Image classifier, all but the backbone and the number of classes: any backbone, from which the width follows."""

model = dict(
    type='FittedClassifier',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='DropoutLinearHead',
        num_classes=1000,
        dropout=0.1,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)))
