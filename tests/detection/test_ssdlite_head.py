"""The mended head beside mmdet's own."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mobileode_mm.detection import SSDLiteHead

CHANNELS = (8, 6)
SIDES = (8, 4)
SIZE = (128, 120)
SETTINGS = dict(
    num_classes=3,
    in_channels=CHANNELS,
    use_depthwise=True,
    norm_cfg=dict(type='BN'),
    act_cfg=dict(type='ReLU6'),
    anchor_generator=dict(
        type='SSDAnchorGenerator', scale_major=False, strides=[16, 32], ratios=[[2, 3], [2]],
        min_sizes=[20, 50], max_sizes=[50, 90]),
    bbox_coder=dict(
        type='DeltaXYWHBBoxCoder', target_means=[.0, .0, .0, .0], target_stds=[0.1, 0.1, 0.2, 0.2]),
    train_cfg=ConfigDict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0., gt_max_assign_all=False),
        sampler=dict(type='PseudoSampler'), smoothl1_beta=1., allowed_border=-1, pos_weight=-1,
        neg_pos_ratio=3),
    test_cfg=ConfigDict(
        nms_pre=1000, nms=dict(type='nms', iou_threshold=0.45), min_bbox_size=0, score_thr=0.02,
        max_per_img=20))
META = dict(img_shape=SIZE, pad_shape=SIZE, ori_shape=(256, 240), scale_factor=(0.5, 0.5))


@pytest.fixture(autouse=True)
def scope():
    """The head's parts are found in mmdet, whatever ran in this process before."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def heads():
    """The stock head and ours with the same weights."""
    torch.manual_seed(0)
    stock, ours = SSDHead(**SETTINGS), SSDLiteHead(**SETTINGS)
    ours.load_state_dict(stock.state_dict())
    return stock, ours


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, channel, side, side, generator=generator).requires_grad_()
                 for channel, side in zip(CHANNELS, SIDES, strict=True))


def truth(*boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), labels=torch.arange(len(boxes)) % 3)


OBJECTS = [truth((10, 12, 60, 70), (50, 30, 75, 55)), truth((0, 0, 119, 127))]
NOTHING = truth()


def losses_and_gradients(head, targets):
    inputs = features()
    losses = head.loss_by_feat(*head(inputs), targets, [META, META])
    assert set(losses) == {'loss_cls', 'loss_bbox'}
    losses = {name: torch.stack([value.reshape(()) for value in values]) for name, values in losses.items()}
    head.zero_grad()
    sum(value.sum() for value in losses.values()).backward()
    return losses, [x.grad for x in inputs] + [parameter.grad for parameter in head.parameters()]


@pytest.mark.parametrize('targets', [OBJECTS, [OBJECTS[0], NOTHING], [NOTHING, NOTHING]],
                         ids=['objects', 'one image without', 'no image with'])
def test_loss_and_gradients_are_the_stock_ones(heads, targets):
    stock_losses, stock_gradients = losses_and_gradients(heads[0], targets)
    losses, gradients = losses_and_gradients(heads[1], targets)
    for name in losses:
        assert torch.equal(losses[name], stock_losses[name])
        assert losses[name].isfinite().all()
    for ours, stock in zip(gradients, stock_gradients, strict=True):
        assert torch.equal(ours, stock)
    # Hard negatives are counted by the positives: an image without objects weighs, and breaks, nothing.
    for image, target in enumerate(targets):
        assert (losses['loss_cls'][image] > 0) == (len(target) > 0)


def test_predict_is_the_stock_one_with_its_missing_attribute(heads):
    stock, ours = heads
    stock.eval(), ours.eval()
    with torch.no_grad():
        outputs = stock(features())
        with pytest.raises(AttributeError, match='loss_cls'):
            stock.predict_by_feat(*outputs, batch_img_metas=[META, META])
        stock.loss_cls = None
        expected = stock.predict_by_feat(*outputs, batch_img_metas=[META, META], rescale=True)
        results = ours.predict_by_feat(*ours(features()), batch_img_metas=[META, META], rescale=True)
    for ours_one, stock_one in zip(results, expected, strict=True):
        assert 0 < len(ours_one) <= 20
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(ours_one[key], stock_one[key])
        assert ours_one.bboxes[:, 2].max() <= 240 and ours_one.bboxes[:, 3].max() <= 256


def test_loss_and_predict(heads):
    losses, results = heads[1].loss_and_predict(features(), [_sample(target) for target in OBJECTS])
    assert len(losses['loss_cls']) == len(results) == 2


def _sample(target):
    return DetDataSample(metainfo=META, gt_instances=target)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_boxes(heads, dtype):
    """Boxes from half-precision outputs are those of the same numbers in float32, not rounded anchors."""
    head = heads[1].eval()
    with torch.no_grad():
        scores, deltas = (tuple(x.to(dtype) for x in level) for level in head(features()))
        half = head.predict_by_feat(scores, deltas, batch_img_metas=[META, META])
        full = head.predict_by_feat([x.float() for x in scores], [x.float() for x in deltas],
                                    batch_img_metas=[META, META])
    for one, other in zip(half, full, strict=True):
        assert one.bboxes.dtype == torch.float32
        assert torch.equal(one.bboxes, other.bboxes) and torch.equal(one.scores, other.scores)


def test_autocast_trains(heads):
    with torch.autocast('cpu', torch.bfloat16):
        losses, gradients = losses_and_gradients(heads[1], OBJECTS)
    expected, _ = losses_and_gradients(heads[0], OBJECTS)
    assert all(gradient.isfinite().all() for gradient in gradients)
    for name in losses:
        torch.testing.assert_close(losses[name], expected[name], rtol=2e-2, atol=2e-2)


def test_number_of_maps_is_checked():
    with pytest.raises(ValueError, match=r'in_channels=\(8, 6, 4\) names 3 maps.*anchors for 2'):
        SSDLiteHead(**{**SETTINGS, 'in_channels': (8, 6, 4)})


def test_separable_by_default():
    settings = {key: value for key, value in SETTINGS.items() if key != 'use_depthwise'}
    assert SSDLiteHead(**settings).state_dict().keys() == SSDHead(**SETTINGS).state_dict().keys()


def test_two_processes_give_the_gradient_of_the_global_batch(tmp_path):
    script = Path(__file__).with_name('two_process_loss.py')
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank), str(tmp_path / 'store')],
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_maps_share_their_predictions():
    torch.manual_seed(0)
    anchors = dict(SETTINGS['anchor_generator'], ratios=[[2, 3], [2, 3]])
    settings = dict(SETTINGS, in_channels=(8, 8), anchor_generator=anchors)
    apart, shared = (SSDLiteHead(**settings, share_predictions=share) for share in (False, True))
    counts = [sum(parameter.numel() for parameter in head.parameters()) for head in (apart, shared)]
    assert counts[0] - counts[1] == 6 * (4 + 4) * (8 + 1)
    maps = tuple(torch.randn(2, 8, side, side) for side in SIDES)
    scores, boxes = shared(maps)
    assert [score.shape[-1] for score in scores] == list(SIDES)
    (scores[0].sum() + boxes[1].sum()).backward()
    assert shared.cls_convs[1][-1].weight.grad is shared.cls_convs[0][-1].weight.grad is not None
    # Keys and shapes are those of a head without sharing, and go round.
    assert list(shared.state_dict()) == list(apart.state_dict())
    shared.load_state_dict(shared.state_dict())
    for wrong in (dict(in_channels=CHANNELS), dict(anchor_generator=SETTINGS['anchor_generator'])):
        with pytest.raises(ValueError, match='share_predictions=True'):
            SSDLiteHead(**dict(settings, **wrong), share_predictions=True)
