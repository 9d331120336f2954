"""RTMDet's head and neck on any backbone: widths, sizes, training, prediction, and their form for files."""
import copy
from pathlib import Path

import pytest
import torch
from mmdet.models.necks import CSPNeXtPAFPN
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm.deploy.tasks import SuppressingDetector
from mobileode_mm.detection import RTMDetLiteHead, SlimPAFPN
from mobileode_mm.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs'
NARROW = {'model.backbone.widen_factor': 0.25, 'model.neck.out_channels': 16, 'model.bbox_head.feat_channels': 16}


def build(**options):
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / 'rtmdet_mobileode_mini.py')
    cfg.merge_from_dict({**NARROW, **options})
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


@pytest.fixture(scope='module')
def detector():
    """As a trained one: norms with statistics, scores that differ."""
    model = build()
    calibrate_norms(model, lambda: model(torch.randn(4, 3, 128, 128), mode='tensor'))
    with torch.no_grad():
        for layer in model.bbox_head.rtm_cls:
            layer.weight.mul_(0.5)
            layer.bias.fill_(-2)
        for layer in model.bbox_head.rtm_reg:
            layer.weight.mul_(2)
            layer.bias.fill_(0.7)  # of the logarithm, in strides
    return model.eval()


def batch(size, boxes, count=2):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for _ in range(count)]
    samples = [DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.)),
        gt_instances=InstanceData(bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                                  labels=torch.arange(len(boxes))),
        ignored_instances=InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)))
        for _ in range(count)]
    return dict(inputs=images, data_samples=samples)


def loss(model, data):
    return model.parse_losses(model(**model.data_preprocessor(data, training=True), mode='loss'))[0]


@torch.no_grad()
def test_the_neck_is_mmdets_behind_projections():
    torch.manual_seed(0)
    neck = SlimPAFPN((8, 16, 24), out_channels=12).eval()
    stock = CSPNeXtPAFPN([12] * 3, 12, num_csp_blocks=1, use_depthwise=True, norm_cfg=dict(type='BN'),
                         act_cfg=dict(type='SiLU')).eval()
    stock.load_state_dict({key: value for key, value in neck.state_dict().items() if 'projections' not in key})
    maps = [torch.randn(2, width, 32 // 2**i, 16 // 2**i) for i, width in enumerate((8, 16, 24))]
    expected = stock([project(x) for project, x in zip(neck.projections, maps)])
    for ours, theirs in zip(neck(maps), expected, strict=True):
        assert torch.equal(ours, theirs) and ours.std() > 0


@pytest.mark.parametrize('backbone', [
    dict(type='MobileODEV2', widen_factor=0.25, out_indices=(3, 4, 5)),
    dict(type='mmdet.MobileNetV2', widen_factor=0.25, out_indices=(2, 4, 7)),
    dict(type='mmdet.CSPNeXt', deepen_factor=0.167, widen_factor=0.125),
], ids=lambda backbone: backbone['type'])
def test_widths_follow_any_backbone(backbone):
    model = build(**{'model.backbone': dict(_delete_=True, **backbone)})
    assert model.bbox_head.in_channels == model.neck.out_channels == 16
    scores, values = model.eval()(torch.rand(1, 3, 64, 96), mode='tensor')
    assert [tuple(x.shape) for x in scores] == [(1, 10, 8, 12), (1, 10, 4, 6), (1, 10, 2, 3)]
    assert [x.shape[1] for x in values] == [4, 4, 4]


def test_maps_of_other_strides():
    model = build(**{'model.backbone.out_indices': (2, 4, 5)})
    with pytest.raises(InputError, match=r'MobileODEV1 gives maps of .*strides \[\(8, 8\).*out_indices'):
        model(torch.rand(1, 3, 96, 96), mode='tensor')


@pytest.mark.parametrize('size', [(96, 96), (51, 130)])
def test_trains_with_and_without_objects(size):
    """Every parameter has a gradient in every case, as distributed training requires; one image is enough."""
    model = build().train()
    for boxes, count in (([(4, 5, 44, 41), (60, 10, 90, 45)], 2), ([], 1)):
        model.zero_grad()
        value = loss(model, batch(size, boxes, count))
        assert value.isfinite() and value > 0
        value.backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_learns_one_batch():
    model = build().train()
    data = batch((96, 96), [(10, 10, 40, 40), (50, 40, 90, 90)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    values = []
    for _ in range(45):
        value = loss(model, data)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.1 * values[0]


def test_boxes_are_decoded_in_float32(detector):
    """In bfloat16 the points beyond 256 px would be those of their neighbours."""
    scores, values = [[torch.rand(1, width, 40, 40)] for width in (10, 4)]
    head = build(**{'model.bbox_head.anchor_generator.strides': [8], 'model.backbone.out_indices': (3, )}).bbox_head
    metas = [dict(img_shape=(320, 320), scale_factor=(1., 1.))]
    half = [[x.bfloat16() for x in maps] for maps in (scores, values)]
    exact = [[x.float() for x in maps] for maps in half]
    for ours, wanted in zip(*(head.predict_by_feat(*maps, batch_img_metas=metas, rescale=False)
                              for maps in (half, exact)), strict=True):
        assert torch.equal(ours.bboxes, wanted.bboxes) and wanted.bboxes.max() > 256


def test_separable_convolutions_are_not_shared():
    with pytest.raises(ValueError, match='use_depthwise=False'):
        RTMDetLiteHead(3, 16, share_conv=True)


@torch.no_grad()
@pytest.mark.parametrize('size', [(96, 96), (72, 104)])
def test_a_file_has_the_boxes_of_the_network(detector, size):
    data = batch(size, [])
    task = SuppressingDetector(detector, takes_rgb=False)
    boxes, scores, labels = task(torch.stack(data['inputs']).permute(0, 2, 3, 1).flip(3))  # BGR to RGB
    for number, sample in enumerate(detector.test_step(data)):
        found = sample.pred_instances
        assert 20 < len(found) <= 300
        torch.testing.assert_close(boxes[number, :len(found)], found.bboxes, rtol=0, atol=1e-3)
        torch.testing.assert_close(scores[number, :len(found)], found.scores)
        assert torch.equal(labels[number, :len(found)], found.labels)
        assert (labels[number, len(found):] == -1).all()


@torch.no_grad()
def test_convolutions_that_maps_share_are_folded_with_the_norm_of_each():
    model = build(**{'model.bbox_head': dict(type='RTMDetSepBNHead', with_objectness=False)})
    assert model.bbox_head.cls_convs[0][0].conv is model.bbox_head.cls_convs[2][0].conv
    calibrate_norms(model, lambda: model(torch.randn(4, 3, 128, 128), mode='tensor'))
    for module in model.bbox_head.modules():  # statistics that differ from map to map
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.eval().double()
    deployed = copy.deepcopy(model)
    deployed.switch_to_deploy()
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    for ours, wanted in zip(deployed(x, mode='tensor'), model(x, mode='tensor'), strict=True):
        for one, other in zip(ours, wanted, strict=True):
            torch.testing.assert_close(one, other)
