"""Networks of timm as backbones: maps by stride, training, the deploy form."""
import copy
import sys

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mobileode_mm.backbones import TimmFeatures
from mobileode_mm.backbones.timm_features import NoSuchMapsError, choose_maps
from mobileode_mm.backbones.utils import guard_gradients
from mobileode_mm.classification import FittedClassifier
from mobileode_mm.errors import InputError

#: With activations inside batch norms; with branches; with a norm that follows a sum; with windows, which no tracer
#: follows.
NAMES = ['mobilenetv4_conv_small_035', 'mobileone_s0', 'ghostnetv2_100', 'efficientvit_m0']


@pytest.fixture
def timm():
    return pytest.importorskip('timm', reason='the extra timm is not installed')


def classifier(backbone):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = FittedClassifier(
            backbone, dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, loss=dict(type='CrossEntropyLoss'), topk=(1, )))
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize('name, strides, maps', [
    ('mobilenetv4_conv_small_035', (16, 32), (3, 4)),
    ('starnet_s050', (8, 16, 32), (1, 2, 3)),
    ('efficientvit_m0', (16, 32), (0, 1)),
    ('efficientvit_m0', None, (2, )),
    ('mobilenetv4_conv_small_035', (8, 8), (3, 4)),
    ('mobilenetv4_conv_small_035', (16, 16), (3, 4)),
])
def test_maps_are_chosen_by_their_strides(name, strides, maps, timm):
    assert choose_maps(name, strides) == maps


def test_outputs_are_as_declared(timm):
    backbone = TimmFeatures('mobilenetv4_conv_small_035', strides=(8, 8)).eval()
    with torch.no_grad():
        outputs = backbone(torch.randn(1, 3, 64, 96))
    assert backbone.strides == (8, 8)
    assert [tuple(output.shape[1:]) for output in outputs] == [(width, 8, 12) for width in backbone.out_channels]


@pytest.mark.parametrize('name, strides, error, message', [
    ('starnet_s050', (8, 8), NoSuchMapsError, 'starnet_s050 cannot be dilated to output stride 8'),
    ('efficientvit_m0', (8, 16, 32), NoSuchMapsError, r'maps of the strides \(16, 32, 64\)'),
    ('starnet_s05', None, InputError, 'no network .starnet_s05.; nearest names: .*starnet_s050'),
])
def test_what_a_network_does_not_have_is_said(name, strides, error, message, timm):
    with pytest.raises(error, match=message):
        TimmFeatures(name, strides)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(InputError, match='pip install timm'):
        TimmFeatures('starnet_s050')


@pytest.mark.parametrize('backbone', [
    *(dict(type='TimmFeatures', name=name) for name in NAMES),
    dict(type='mmpretrain.TIMMBackbone', model_name='mobilenetv4_conv_small_035'),
], ids=[*NAMES, 'TIMMBackbone'])
def test_deploy_form_gives_what_was_trained(backbone, timm):
    model = classifier(backbone)
    x = torch.randn(4, 3, 64, 64)
    model.train()
    loss = model(x, mode='tensor')[0].square().mean()
    loss.backward()
    used = [parameter.grad is not None for name, parameter in model.named_parameters() if name.startswith('backbone')]
    assert loss.isfinite() and all(used)
    model.eval()
    deployed = copy.deepcopy(model)
    deployed.switch_to_deploy()
    with torch.no_grad():
        for size in (64, 96):
            x = torch.randn(2, 3, size, size)
            torch.testing.assert_close(deployed(x, mode='tensor'), model(x, mode='tensor'), rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in deployed.modules())


def test_few_channels_behind_a_stride_have_right_gradients():
    """In channels_last oneDNN writes past its workspace there: a crash, or other values than these."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 16, 1, stride=2, bias=False)
    guard_gradients(conv)
    x = torch.randn(2, 3, 192, 192)
    loss = conv(x.contiguous(memory_format=torch.channels_last)).square().sum()
    loss.backward()
    # As a matrix over the pixels that the stride leaves.
    pixels = x[:, :, ::2, ::2].transpose(0, 1).flatten(1)
    expected = 2 * conv.weight.detach().flatten(1) @ pixels @ pixels.T
    torch.testing.assert_close(conv.weight.grad.flatten(1), expected, rtol=1e-3, atol=1e-2)
    assert len(conv._forward_pre_hooks) == 1
    wide, unstrided = nn.Conv2d(16, 16, 1, stride=2), nn.Conv2d(3, 16, 1)
    for other in (wide, unstrided):
        guard_gradients(other)
        assert not other._forward_pre_hooks
