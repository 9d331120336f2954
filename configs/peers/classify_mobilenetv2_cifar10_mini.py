# The mini twin of classify_mobilenetv2_cifar10.py.
_base_ = '../classify_mobileode_cifar10_mini.py'
model = dict(backbone=dict(_delete_=True, type='mmpretrain.MobileNetV2'))

enlarge = [dict(type='Resize', scale=(128, 128))]
train_pipeline = _base_.train_pipeline[:-1] + enlarge + _base_.train_pipeline[-1:]
test_pipeline = _base_.test_pipeline[:-1] + enlarge + _base_.test_pipeline[-1:]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
