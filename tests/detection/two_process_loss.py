"""One of two processes that train the head on one image each: ``python two_process_loss.py RANK STORE_FILE``.

Exits with an error unless the mean of the two gradients is the gradient of a batch of both images.
"""
import sys

import torch
import torch.distributed as dist
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import mobileode_mm  # noqa: F401
from mobileode_mm.detection import SSDLiteHead

META = dict(img_shape=(128, 128), pad_shape=(128, 128))
TRUTH = [
    InstanceData(bboxes=torch.tensor([[0., 0., 120., 120.]]), labels=torch.tensor([0])),
    InstanceData(
        bboxes=torch.tensor([[10., 12., 60., 70.], [50., 30., 80., 65.], [90., 90., 125., 110.]]),
        labels=torch.tensor([1, 2, 0])),
]


def gradient(head, maps, images):
    losses = head.loss_by_feat(*head([x[images] for x in maps]), TRUTH[images], [META] * len(TRUTH[images]))
    parameters = list(head.parameters())
    total = sum(value.sum() for values in losses.values() for value in values)
    return torch.cat([one.flatten() for one in torch.autograd.grad(total, parameters)])


def main():
    rank, store = int(sys.argv[1]), sys.argv[2]
    torch.manual_seed(0)
    # Without norms: theirs is another matter.
    head = SSDLiteHead(
        num_classes=3, in_channels=(8, 6), act_cfg=dict(type='ReLU6'),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[16, 32], ratios=[[2], [2]],
            min_sizes=[20, 50], max_sizes=[50, 90]),
        train_cfg=ConfigDict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.,
                gt_max_assign_all=False),
            smoothl1_beta=1., allowed_border=-1, pos_weight=-1, neg_pos_ratio=3))
    maps = [torch.randn(2, 8, 8, 8), torch.randn(2, 6, 4, 4)]
    expected = gradient(head, maps, slice(0, 2))
    alone = gradient(head, maps, slice(rank, rank + 1))

    dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    mean, mean_of_alone = gradient(head, maps, slice(rank, rank + 1)), alone
    dist.all_reduce(mean)
    dist.all_reduce(mean_of_alone)
    dist.destroy_process_group()
    torch.testing.assert_close(mean / 2, expected, rtol=1e-5, atol=1e-6)
    # The case means something: with each process's own count, the mean gradient is another one.
    assert (mean_of_alone / 2 - expected).abs().max() > 1e-2


if __name__ == '__main__':
    main()
