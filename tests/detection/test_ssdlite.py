"""The detector: widths that follow, training and prediction through mmdet's own interface."""
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mobileode_mm.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs'


def build(**options):
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / 'ssdlite_mobileode_mini.py')
    cfg.merge_from_dict(options)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


@pytest.fixture(scope='module')
def detector():
    return build()


def batch(sizes, *truths):
    """What a dataloader gives: images of these sizes and their samples."""
    inputs, samples = [], []
    generator = torch.Generator().manual_seed(0)
    for size, boxes in zip(sizes, truths, strict=True):
        inputs.append(torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8))
        samples.append(DetDataSample(
            metainfo=dict(
                img_shape=size, ori_shape=(2 * size[0], 2 * size[1]), scale_factor=(0.5, 0.5)),
            gt_instances=InstanceData(
                bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                labels=torch.zeros(len(boxes), dtype=torch.long)),
            ignored_instances=InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))))
    return dict(inputs=inputs, data_samples=samples)


def loss(detector, data):
    data = detector.data_preprocessor(data, training=True)
    return detector.parse_losses(detector(**data, mode='loss'))[0]


SIZES = pytest.mark.parametrize('size', [(96, 96), (128, 77), (51, 203)])


@SIZES
def test_trains_with_and_without_objects(detector, size):
    detector.train()
    box = (4, 5, 44, 41)
    for truths in ([[box], [box]], [[box], []], [[], []]):
        detector.zero_grad()
        value = loss(detector, batch([size, size], *truths))
        assert value.isfinite() and (value > 0) == any(truths)
        value.backward()
        # Every parameter has a gradient in every case, as distributed training requires.
        assert all(parameter.grad is not None and parameter.grad.isfinite().all()
                   for parameter in detector.parameters() if parameter.requires_grad)


@SIZES
def test_predicts_in_mmdets_format(detector, size):
    detector.eval()
    samples = detector.test_step(batch([size, size], [], []))
    for sample in samples:
        found = sample.pred_instances
        assert set(found.keys()) == {'bboxes', 'scores', 'labels'}
        assert found.bboxes.shape == (len(found), 4) and 0 < len(found) <= 200
        assert found.bboxes.min() >= 0
        # In the pixels of the original image, which was twice as large.
        assert found.bboxes[:, 2].max() <= 2 * size[1] and found.bboxes[:, 3].max() <= 2 * size[0]
        assert (found.scores.diff() <= 0).all() and found.labels.max() < 10


def test_learns_one_batch():
    """The loss of one image with two boxes falls to a small part, and the boxes are found."""
    detector = build(**{'model.backbone.widen_factor': 0.25})
    detector.train()
    boxes = [(20, 20, 60, 60), (90, 70, 150, 150)]
    data = batch([(192, 192)] * 2, boxes, boxes)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        value = loss(detector, data)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.1 * values[0]


@pytest.mark.parametrize('backbone, channels', [
    (dict(type='MobileODEV2', widen_factor=0.5, out_indices=(4, 5)), (144, 256)),
    (dict(type='MobileNetV1', out_indices=(4, 5), widen_factor=0.5), (256, 512)),
    (dict(type='mmdet.MobileNetV2', out_indices=(4, 7), widen_factor=0.5), (48, 1280)),
    (dict(type='mmpretrain.MobileNetV3', arch='small', out_indices=(8, 12)), (48, 576)),
    (dict(type='ResNet', depth=18, out_indices=(2, 3), style='pytorch'), (256, 512)),
], ids=lambda value: value['type'] if isinstance(value, dict) else '')
def test_widths_follow_any_backbone(backbone, channels):
    detector = build(**{'model.backbone': dict(_delete_=True, **backbone)})
    assert tuple(detector.neck.in_channels) == channels
    assert tuple(detector.bbox_head.in_channels) == detector.neck.out_channels
    outputs = detector.eval()(torch.rand(1, 3, 64, 96), mode='tensor')
    assert len(outputs[0]) == 6


@pytest.mark.parametrize('out_indices', [(5, ), (3, 4)])
def test_maps_of_other_strides(out_indices):
    detector = build(**{'model.backbone.out_indices': out_indices})
    with pytest.raises(InputError, match=r'MobileODEV1 gives maps of .*strides \[\(16, 16\).*out_indices'):
        detector(torch.rand(1, 3, 192, 96), mode='tensor')


def test_widths_follow_the_neck():
    detector = build(**{'model.neck.out_channels': (64, 64, 32, 32, 16, 16)})
    assert tuple(detector.bbox_head.in_channels) == (64, 64, 32, 32, 16, 16)


@pytest.mark.parametrize('part, typed, message', [
    ('neck', [96, 1280], r'model\.neck\.in_channels is \[96, 1280\], but MobileODEV1 gives \(576, 576\)'),
    ('bbox_head', [96, 96, 96, 96, 96, 96], r'model\.bbox_head\.in_channels is .*SSDLiteNeck gives \(512,'),
])
def test_contradicting_widths(part, typed, message):
    with pytest.raises(InputError, match=message):
        build(**{f'model.{part}.in_channels': typed})


def test_agreeing_widths_may_be_typed():
    assert build(**{'model.neck.in_channels': [576, 576]}).neck.in_channels == (576, 576)


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_one_image_a_batch(norm):
    """In a single process a synchronised norm sees one image too."""
    detector = build(**{'model.bbox_head.norm_cfg': dict(type=norm)}).train()
    with pytest.raises(InputError, match=r'train_dataloader\.batch_size to 2 or more'):
        loss(detector, batch([(96, 96)], []))


def test_an_image_of_one_tile_is_predicted_as_ever(detector):
    detector.eval()
    plain = detector.test_step(batch([(96, 96)], []))[0].pred_instances
    tiled = build(**{'model.test_cfg.tile': dict(size=96, overlap=32)}).eval()
    tiled.load_state_dict(detector.state_dict())

    def rows(found):  # in another order where scores are equal
        values = torch.cat([found.bboxes, found.scores[:, None], found.labels[:, None]], 1)
        return sorted(tuple(row) for row in (values * 1000).round().long().tolist())

    # The tile's suppression is the image's; what is left is suppressed once more, which changes nothing.
    assert rows(tiled.test_step(batch([(96, 96)], []))[0].pred_instances) == rows(plain)


def test_what_lies_in_one_tile_of_a_large_image_is_found_there():
    """A square on a black image, once alone in a tile's size and once far off in a large one."""
    tiled = build(**{'model.test_cfg.tile': dict(size=96, overlap=48)}).eval()
    small = torch.zeros(3, 96, 96, dtype=torch.uint8)
    small[:, 30:60, 20:50] = 200
    large = torch.zeros(3, 96, 240, dtype=torch.uint8)
    large[:, :, 96:192] = small  # a tile begins at 96: the starts are 0, 48, 96, 144
    boxes = []
    for image in (small, large):
        size = tuple(image.shape[1:])
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.)))
        boxes.append(tiled.test_step(dict(inputs=[image], data_samples=[sample]))[0].pred_instances)
    alone, among = boxes
    inner = alone.bboxes[(alone.bboxes[:, 0] > 5) & (alone.bboxes[:, 2] < 91)][:5]
    assert len(inner)
    shifted = inner + torch.tensor([96., 0, 96, 0])
    distances = (among.bboxes[:, None] - shifted[None]).abs().amax(2).amin(0)
    # Each stands there, but for those that a surer box of a neighbouring tile suppresses.
    assert (distances < 0.5).any()
