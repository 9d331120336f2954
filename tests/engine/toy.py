"""A classifier of points in a plane that trains in a second, and configs of real Runners around it."""
import uuid

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from torch.utils.data import Dataset


class ToyModel(BaseModel):

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

    def forward(self, points, labels, mode='tensor'):
        scores = self.layers(points)
        if mode == 'loss':
            loss = torch.nn.functional.cross_entropy(scores, labels)
            return dict(loss_cls=loss, loss_norm=1e-3 * scores.square().mean())
        return scores.argmax(1) == labels


class ToyData(Dataset):

    metainfo = dict(classes=('inside', 'outside'))

    def __len__(self):
        return 32

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        point = torch.randn(2, generator=generator)
        return point, (point.norm() > 1).long()


class ToyAccuracy(BaseMetric):

    default_prefix = 'accuracy'

    def process(self, data_batch, data_samples):
        self.results += [bool(right) for right in data_samples]

    def compute_metrics(self, results):
        return dict(top1=100. * sum(results) / len(results))


def toy_loader(train=True, num_workers=0):
    return dict(
        batch_size=4, dataset=ToyData(), collate_fn=dict(type='default_collate'), num_workers=num_workers,
        sampler=dict(type='DefaultSampler', shuffle=train))


def toy_config(work_dir, epochs=3, hooks=(), checkpoint=(), **changes):
    """Arguments of a Runner: 8 iterations an epoch, validation after each.

    The name is its own: Runners of one name, made in one second, share their logger.
    """
    torch.manual_seed(0)  # the model is built before the Runner's own seed
    config = dict(
        model=ToyModel(), work_dir=str(work_dir),
        train_dataloader=toy_loader(), val_dataloader=toy_loader(False), val_evaluator=[ToyAccuracy()],
        train_cfg=dict(by_epoch=True, max_epochs=epochs), val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), randomness=dict(seed=0),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=2), checkpoint=dict(
            type='CheckpointHook', interval=1, backend_args=dict(backend='atomic'), **dict(checkpoint))),
        custom_hooks=list(hooks), experiment_name=f'toy_{uuid.uuid4().hex}')
    return {**config, **changes}
