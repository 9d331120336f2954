"""mIoU at other sizes, against pixels counted by hand."""
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from benchmarks.studies.sizes import Size, mean_iou, sizes_around
from mobileode_mm.ode import ChannelwiseODESolver

CLASSES = 3


class Threshold(nn.Module):
    """Says class 0 for dark pixels and class 1 for light ones, whatever the size; holds a solver."""

    num_classes = CLASSES

    def __init__(self):
        super().__init__()
        self.solver = ChannelwiseODESolver(4, 4, grid_size=2)
        self.seen = []

    def data_preprocessor(self, data):
        return dict(inputs=torch.stack([image.float() for image in data['inputs']]))

    def encode_decode(self, inputs, metas):
        self.seen += [(tuple(inputs.shape[2:]), metas[0]['img_shape'], len(inputs), self.solver.norm.training)]
        light = inputs.mean(1) / 255
        return torch.stack([1 - light, light, torch.full_like(light, -1)], 1)


def sample(height, width):
    image, labels = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    image[:, width // 2:] = 255
    # The right half is class 1, but for its lower half, which is class 2; the lowest row counts for no class.
    labels[:, width // 2:] = 1
    labels[height // 2:, width // 2:] = 2
    labels[-height // 4:] = 255
    return dict(img=image, gt_seg_map=labels, seg_fields=['gt_seg_map'])


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.mark.parametrize('size', [Size(16), Size(32), Size(8)])
def test_counts_pixels(size):
    # Of 4 rows: classes 0 and 1 in two, 0 and 2 in one, none in one. IoU of 0 is 1, of 1 is 2/3, of 2 is 0.
    assert mean_iou(Threshold(), [sample(16, 32)], size) == pytest.approx(100 * (1 + 2 / 3 + 0) / 3, abs=0.5)


def test_a_class_that_nobody_names_is_left_out():
    one = sample(16, 16)
    one['gt_seg_map'][one['gt_seg_map'] == 2] = 1
    assert mean_iou(Threshold(), [one], Size(16)) == pytest.approx(100)


def test_images_are_brought_to_the_size():
    model = Threshold()
    model.seen = seen = []
    model.__deepcopy__ = lambda memo: model
    mean_iou(model, [sample(20, 40), sample(60, 30)], Size(40))
    assert seen == [((40, 80), (40, 80), 1, False), ((80, 40), (80, 40), 1, False)]
    seen.clear()
    mean_iou(model, [sample(20, 40)] * 3, Size(40, (8, 30), batch_statistics=2))
    assert seen == [((8, 30), (8, 30), 2, True), ((8, 30), (8, 30), 1, True)]


def test_the_model_is_left_as_it_was():
    model = Threshold().train()
    mean_iou(model, [sample(16, 16)] * 2, Size(16, (8, 8), 2))
    assert model.training and not model.seen


def test_sizes_hold_the_training_size_others_and_oblong_ones():
    sizes = sizes_around((96, 96), 120)
    assert sizes['96×96, as in training'] == Size(120, (96, 96))
    assert sizes['48×96'].crop == (48, 96) and sizes['96×48'].crop == (96, 48)
    assert {size.short_side for size in sizes.values() if size.crop is None} == {80, 120, 160, 240}
