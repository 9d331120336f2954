# deeplabv3_mobilenetv2.py on the augmented training set: VOC 2012 and SBD.
_base_ = './deeplabv3_mobilenetv2.py'
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[_base_.train_dataset, _base_.aug_dataset]))
