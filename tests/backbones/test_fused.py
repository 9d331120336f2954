"""The deploy form's convolutions are mmcv's ConvModule in one operator; the eager networks are mmcv's own."""
import copy
import shutil

import pytest
import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.as_released import as_released
from mobileode_mm.backbones import MobileNetV1, MobileODEV1, MobileODEV2, ODEResidualBlock
from mobileode_mm.backbones.fused import FusedConv, fuse_activations

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='this torch is built without oneDNN')

BN = dict(type='BN')


def make(*args, **cfg):
    """mmcv's module, and its deploy form, in eval mode; norms away from their initial values."""
    torch.manual_seed(0)
    theirs = ConvModule(*args, **cfg).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.uniform_(0.5, 1.5)
    parent = nn.Sequential(fuse_conv_bn(copy.deepcopy(theirs)))
    fuse_activations(parent)
    return theirs, parent[0]


def path(module, x):
    return module.backend_for(x)[0]


@pytest.mark.parametrize('cfg', [
    dict(norm_cfg=BN, act_cfg=dict(type='SiLU')),
    dict(norm_cfg=BN, act_cfg=dict(type='ReLU6'), stride=2),
    dict(norm_cfg=BN, act_cfg=None, groups=5, padding=2, dilation=2),
    dict(norm_cfg=BN, bias=True),
    dict(norm_cfg=None, act_cfg=dict(type='HSwish')),
    dict(norm_cfg=None, act_cfg=None, bias=False),
], ids=str)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('kernel', [1, 3])
def test_values(cfg, layout, kernel):
    theirs, ours = make(10, 15, kernel, **cfg)
    x = (3 * torch.randn(2, 10, 7, 9)).contiguous(memory_format=layout)
    with torch.no_grad():
        expected = copy.deepcopy(theirs).double()(x.double())
        rounding = (theirs(x) - expected).abs().max()
        y = ours(x)
        assert ours.backend_for(x) == ('onednn', '')
    assert y.dtype == x.dtype and y.stride() == theirs(x).stride()
    assert (y - expected).abs().max() <= 4 * rounding + 1e-6


@pytest.mark.parametrize('cfg', [
    dict(norm_cfg=dict(type='GN', num_groups=3)), dict(norm_cfg=BN, act_cfg=dict(type='Tanh')),
    dict(norm_cfg=BN, order=('norm', 'conv', 'act')), dict(norm_cfg=BN, padding=1, padding_mode='reflect'),
    dict(norm_cfg=BN, with_spectral_norm=True),
], ids=str)
def test_what_the_operator_does_not_know_is_left_to_mmcv(cfg):
    theirs, _ = make(6, 6, 3, **cfg)
    parent = nn.Sequential(copy.deepcopy(theirs))
    fuse_activations(parent)
    x = torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(parent(x), theirs(x), rtol=0, atol=0)
    assert type(parent[0]) is ConvModule


def test_gradients_and_other_types_go_through_operators():
    theirs, ours = make(4, 6, 3, norm_cfg=BN)
    x = torch.randn(2, 4, 8, 8)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    assert path(ours, inputs[1]) == 'operators'
    theirs(inputs[0]).sum().backward(), ours(inputs[1]).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    with torch.no_grad():
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert ours(x).dtype == torch.bfloat16 and path(ours, x) == 'operators'
        assert ours(x[:0]).shape == (0, 6, 6, 6) and path(ours, x[:0]) == 'operators'
        ours.double(), theirs.double()
        torch.testing.assert_close(ours(x.double()), theirs(x.double()))
        assert 'float64' in ours.backend_for(x.double())[1]


@pytest.mark.parametrize('name', ['operators', 'reference'])
def test_forced(name, monkeypatch):
    theirs, ours = make(4, 6, 3, norm_cfg=BN)
    x = torch.randn(2, 4, 8, 8)
    monkeypatch.setenv('MOBILEODE_BACKEND', name)
    with torch.no_grad():
        assert ours.backend_for(x) == ('operators', f'{name} is forced')
        torch.testing.assert_close(ours(x), theirs(x))


def test_a_counter_of_operators_sees_the_convolution():
    _, ours = make(4, 6, 3, norm_cfg=BN)
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ours(x)
        assert path(ours, x) == 'operators'
    assert counter.get_total_flops() == 2 * 36 * 6 * 36


def test_compiled_without_a_break():
    theirs, ours = make(4, 6, 3, norm_cfg=BN, act_cfg=dict(type='SiLU'))
    compiled = torch.compile(ours, fullgraph=True, backend='aot_eager')
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), theirs(x))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='no C++ compiler is installed')
@pytest.mark.parametrize('deploy', [False, True])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_machine_code_of_any_layout_and_size(layout, deploy):
    """Of a map with one channel one layout cannot be told from the other; stage 1 has one here, stage 2 four."""
    torch.manual_seed(0)
    network = MobileODEV1(widen_factor=0.125, input_size=64, out_indices=(2, 3))
    network.eval()
    if deploy:
        network.switch_to_deploy()
    compiled = torch.compile(network, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for size in ((2, 64, 64), (3, 32, 96)):
            x = torch.randn(size[0], 3, *size[1:]).contiguous(memory_format=layout)
            torch.testing.assert_close(compiled(x), network(x), rtol=1e-4, atol=1e-4)


def test_exported_without_it():
    _, ours = make(4, 6, 3, norm_cfg=BN, act_cfg=dict(type='SiLU'))
    with torch.no_grad():
        graph = torch.jit.trace(ours, torch.randn(1, 4, 8, 8)).inlined_graph
        program = torch.export.export(ours, (torch.randn(1, 4, 8, 8), ))
    assert 'mkldnn' not in str(graph) and 'mkldnn' not in str(program.graph)


@pytest.mark.parametrize('kind', [MobileODEV1, MobileODEV2, MobileNetV1])
def test_the_eager_networks_are_mmcvs_own(kind):
    convolutions = [type(module) for module in kind(widen_factor=0.25).modules() if isinstance(module, ConvModule)]
    assert convolutions and set(convolutions) == {ConvModule}


@pytest.mark.parametrize('form', ['trained', 'deployed', 'compiled', 'deployed and compiled'])
@pytest.mark.parametrize('kind', [MobileODEV1, MobileODEV2])
def test_networks_infer_what_their_parts_do(kind, form):
    torch.manual_seed(0)
    network = kind(widen_factor=0.25, out_indices=(0, 3, 5), input_size=64, act_cfg=dict(type='SiLU'))
    network.init_weights()
    for _ in range(3):
        network(torch.randn(4, 3, 64, 64))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = as_released(copy.deepcopy(network).eval()).double()(x.double())
        if 'deployed' in form:
            network.switch_to_deploy()
            convolutions = [module for module in network.modules() if isinstance(module, (ConvModule, FusedConv))]
            assert {type(module) for module in convolutions} == {FusedConv}
        network.eval()
        outputs = (torch.compile(network, fullgraph=True, backend='aot_eager') if 'compiled' in form else network)(x)
    for a, b in zip(outputs, exact, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()


def test_a_solvers_hooks_are_called():
    block, seen = ODEResidualBlock(16, solver=dict(grid_size=3)).eval(), []
    x = torch.randn(1, 16, 3, 3)
    with torch.no_grad():
        y = block(x)
        block.project.solver.register_forward_hook(lambda *_: seen.append('solver'))
        torch.testing.assert_close(block(x), y)
    assert seen == ['solver']
