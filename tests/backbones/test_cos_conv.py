"""COSConv: the solver where mmcv's blocks ask for a 1×1 convolution."""

import copy
import logging

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer
from mmengine.registry import MODELS
from torch import nn

from benchmarks.complexity.counting import count
from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm import COSConv
from mobileode_mm.backbones import Deployable, SolverConv, replacement
from mobileode_mm.ode import ChannelwiseODESolver, DeployedODESolver

CFG = dict(type='COSConv', num_steps=2, norm='channel')


@pytest.mark.parametrize('name', ['COSConv', 'mobileode_mm.COSConv', COSConv])
def test_mmcv_builds_it_by_name_and_by_itself(name):
    layer = build_conv_layer(dict(CFG, type=name), 16, 36, 1, stride=2, bias=False)
    assert type(layer) is SolverConv and (name is COSConv or MODELS.get(name) is COSConv)
    assert (layer.solver.num_steps, type(layer.solver.norm).__name__, layer.bias) == (2, 'ChannelNorm', None)
    assert layer(torch.randn(2, 16, 5, 7)).shape == (2, 36, 3, 4)
    assert isinstance(build_conv_layer(dict(type=name, grid_size=5), 4, 4, 1).solver.norm.grid_size, tuple)


def test_values_strides_and_bias_are_the_solver_s():
    torch.manual_seed(0)
    layer = COSConv(16, 36, 1, stride=(2, 3), num_steps=2)
    layer.bias.data.normal_()
    x = torch.randn(2, 16, 6, 7, requires_grad=True)
    expected = layer.solver(x[..., ::2, ::3]) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    layer(x).square().sum().backward()
    assert all(p.grad.any() for name, p in layer.named_parameters() if 'delta_t' not in name)
    assert x.grad[..., 1, 1].abs().sum() == 0 < x.grad[..., 0, 0].abs().sum()
    conv = nn.Conv2d(16, 36, 1)
    assert layer.parameters_saved() == sum(p.numel() for p in conv.parameters()) - sum(
        p.numel() for p in layer.parameters())
    assert all(hasattr(layer, name) for name in ('kernel_size', 'padding', 'dilation', 'groups', 'transposed',
                                                 'output_padding', 'in_channels', 'out_channels', 'stride'))


@pytest.mark.parametrize('arguments, reason', [
    (dict(kernel_size=3, padding=1), 'kernel 3×3'), (dict(kernel_size=(1, 3)), 'kernel 1×3'),
    (dict(groups=4), 'groups'), (dict(padding=1), 'padding'), (dict(padding=(0, 1)), 'padding'),
    (dict(in_channels=32), '32 channels, no perfect square'),
    (dict(out_channels=24), '24 channels, no perfect square')])
def test_what_a_solver_cannot_stand_for(arguments, reason):
    arguments = dict(dict(in_channels=16, out_channels=36, kernel_size=1, num_steps=2), **arguments)
    layer = COSConv(**arguments)
    assert type(layer) is nn.Conv2d and layer.kept_because == reason
    conv = {key: value for key, value in arguments.items() if key != 'num_steps'}
    assert str(layer) == str(nn.Conv2d(**conv))
    with pytest.raises(ValueError, match=f"COSConv cannot .*: {reason.replace('×', '.')}.*otherwise='conv'"):
        COSConv(**arguments, otherwise='error')


@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('options, words', [
    (dict(otherwise='foo'), "otherwise='foo'.*'conv', 'error'"), (dict(norm='foo'), "norm='foo'.*'position'"),
    (dict(num_steps=0), 'num_steps=0')])
def test_bad_options_are_named_whether_they_are_used_or_not(kernel, options, words):
    with pytest.raises(ValueError, match=words):
        COSConv(16, 16, kernel, **options)
    with pytest.raises(TypeError, match='foo'):
        COSConv(16, 16, kernel, foo=1)


def test_initial_values_are_the_solver_s_own():
    torch.manual_seed(0)
    module = ConvModule(64, 64, 1, conv_cfg=dict(type='COSConv', num_steps=30), norm_cfg=dict(type='BN'))
    assert module.conv.solver.matrices.std().item() == pytest.approx(0.1, rel=0.1)


def test_a_line_says_what_was_replaced(caplog):
    caplog.set_level(logging.INFO, 'mobileode_mm')
    network = nn.Sequential(*(ConvModule(*widths, conv_cfg=CFG) for widths in (
        (49, 64, 1), (64, 64, 1), (64, 64, 3), (64, 48, 1), (48, 49, 1))))
    left = 2 * (2 * 64 + 2 + 2 * 64 + 64)
    assert replacement(network) == (
        f'COSConv in the place of 2 1×1 convolutions: {left} parameters instead of {64 * 113 + 128:,}, '
        f'{64 * 113 + 128 - left:,} fewer; ordinary convolutions stay: 2 (48 channels, no perfect square), '
        '1 (kernel 3×3)')
    assert '49→64, L = 2, in the place of a 1×1 convolution' in caplog.text
    assert replacement(nn.Conv2d(1, 1, 1)) is None


class Network(Deployable):
    """ConvModules of several makes."""

    def __init__(self, norm, order=('conv', 'norm', 'act'), act='SiLU', bias='auto'):
        super().__init__()
        conv_cfg = dict(type='COSConv', num_steps=2, norm=norm, grid_size=4)
        self.stem = ConvModule(3, 16, 3, stride=2, conv_cfg=conv_cfg, norm_cfg=dict(type='BN'))
        self.mix = ConvModule(16, 36, 1, stride=2, bias=bias, conv_cfg=conv_cfg, norm_cfg=dict(type='BN'), order=order,
                              act_cfg=dict(type=act))
        self.last = ConvModule(36, 25, 1, conv_cfg=conv_cfg, act_cfg=None)

    def forward(self, x):
        return self.last(self.mix(self.stem(x)))


@pytest.mark.parametrize('norm', ['channel', 'position'])
@pytest.mark.parametrize('kwargs', [{}, dict(bias=True), dict(order=('norm', 'conv', 'act')),
                                    dict(order=('conv', 'act', 'norm'), act='ReLU6')], ids=str)
@pytest.mark.filterwarnings('ignore:Unnecessary conv bias')
def test_the_deploy_form_computes_the_same(norm, kwargs):
    torch.manual_seed(0)
    network = Network(norm, **kwargs)
    if kwargs.get('bias') is True:
        network.mix.conv.bias.data.normal_()
    calibrate_norms(network, lambda: network(torch.randn(8, 3, 32, 32)))
    network.eval().double()
    x = torch.randn(2, 3, 21, 33).double()
    with torch.no_grad():
        expected = network(x)
        for size in (None, (21, 33)):
            deployed = copy.deepcopy(network)
            deployed.switch_to_deploy(size)
            torch.testing.assert_close(deployed(x), expected, rtol=1e-10, atol=1e-10)
            assert not any(isinstance(module, ChannelwiseODESolver) for module in deployed.modules())
            assert sum(isinstance(module, DeployedODESolver) for module in deployed.modules()) == 2
            folded = kwargs.get('order', ('conv', 'norm', 'act')) == ('conv', 'norm', 'act')
            assert isinstance(deployed.mix.norm, nn.BatchNorm2d) != folded


def test_a_gain_is_of_solvers_that_expand_alone():
    conv_cfg = dict(type='COSConv', norm='channel', expand_gain=0.5)
    assert ConvModule(9, 36, 1, conv_cfg=conv_cfg).conv.solver.gain.shape == (36, )
    assert isinstance(ConvModule(9, 36, 3, conv_cfg=conv_cfg).conv, nn.Conv2d)
    with pytest.raises(ValueError, match='36 channels of 36'):
        ConvModule(36, 36, 1, conv_cfg=conv_cfg)


def test_it_is_counted():
    """Multiply-adds of the steps at the positions of the stride, and the parameters."""
    with_solver = count(ConvModule(16, 16, 1, stride=2, conv_cfg=CFG, act_cfg=None, bias=False), (1, 16, 8, 8))
    assert with_solver.cost.macs == 16 * 2 * 4**3
    assert with_solver.parameters == 2 * 16 + 2 + 32
    ordinary = count(ConvModule(16, 16, 1, stride=2, act_cfg=None, bias=False), (1, 16, 8, 8))
    assert ordinary.cost.macs == 16 * 16 * 16


def test_what_stays_a_convolution_has_its_initial_values():
    torch.manual_seed(0)
    kept = COSConv(3, 8, 3, num_steps=2)
    torch.manual_seed(0)
    torch.testing.assert_close(kept.state_dict(), nn.Conv2d(3, 8, 3).state_dict(), rtol=0, atol=0)
