"""The neck's maps: shapes, sizes, what the norms see."""
import pytest
import torch
from torch import nn

from mobileode_mm.detection import SSDLiteNeck


def features(size, channels=(12, 20), batch=2):
    height, width = size
    return [torch.randn(batch, channel, -(-height // stride), -(-width // stride), requires_grad=True)
            for channel, stride in zip(channels, (16, 32), strict=True)]


@pytest.mark.parametrize('size, expected', [
    ((320, 320), [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
    ((192, 192), [(12, 12), (6, 6), (3, 3), (2, 2), (1, 1), (1, 1)]),
    ((250, 333), [(16, 21), (8, 11), (4, 6), (2, 3), (1, 2), (1, 1)]),
    ((33, 17), [(3, 2), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]),
])
def test_maps(size, expected):
    neck = SSDLiteNeck((12, 20), (16, 8, 8, 8, 4, 4))
    maps = neck(features(size))
    assert [tuple(x.shape) for x in maps] == [
        (2, channel, *side) for channel, side in zip(neck.out_channels, expected, strict=True)]
    sum(x.square().sum() for x in maps).backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())


def test_default_widths_are_the_released_ones():
    assert SSDLiteNeck((576, 576)).out_channels == (512, 256, 256, 128, 128, 64)


def test_against_plain_layers():
    """The maps, from torch's own layers with the neck's weights."""
    neck = SSDLiteNeck((6, 10), (8, 8, 4, 4), act_cfg=dict(type='SiLU')).eval()
    for module in neck.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)

    def conv(x, layer, norm, **kwargs):
        x = nn.functional.conv2d(x, layer.weight, layer.bias, **kwargs)
        return x if norm is None else (x - norm.running_mean[:, None, None]) / (
            norm.running_var + 1e-5).sqrt()[:, None, None]

    fine, coarse = features((64, 96), (6, 10))
    silu = nn.functional.silu
    expected = [silu(conv(fine, neck.projections[0].conv, neck.projections[0].bn)),
                silu(conv(coarse, neck.projections[1].conv, neck.projections[1].bn))]
    depthwise, pointwise = neck.extra_layers[0].depthwise_conv, neck.extra_layers[0].pointwise_conv
    halved = conv(expected[1], depthwise.conv, depthwise.bn, stride=2, padding=1, groups=8)
    expected.append(silu(conv(halved, pointwise.conv, pointwise.bn)))
    expected.append(silu(conv(expected[2].mean((2, 3), keepdim=True), neck.pooled_layer[1].conv, None)))
    for ours, plain in zip(neck([fine, coarse]), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def test_pooled_map_needs_no_batch():
    """At 320 px the smallest map that is normed has 2x2 positions: one image is enough."""
    neck = SSDLiteNeck((12, 20), (16, 8, 8, 8, 4, 4)).train()
    neck(features((320, 320), batch=1))[-1].sum().backward()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in neck.pooled_layer.modules())


def test_sync_bn():
    neck = SSDLiteNeck((12, 20), (16, 8, 8, 8, 4, 4), norm_cfg=dict(type='SyncBN'))
    norms = [module for module in neck.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 2 + 2 * 3
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)


def test_wrong_numbers_of_maps():
    with pytest.raises(ValueError, match=r'out_channels=\(16, 8\).*at least one more, for the pooled map'):
        SSDLiteNeck((12, 20), (16, 8))
    with pytest.raises(ValueError):
        SSDLiteNeck((12, 20), (16, 8, 8))(features((64, 64))[:1])
