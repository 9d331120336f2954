"""The convolution, norm and activation of one operator are those of mmcv's ConvModule."""
import copy
import shutil

import pytest
import torch
from mmcv.cnn import ConvModule
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.as_released import as_released
from mobileode_mm.backbones import MobileODEV1, MobileODEV2, ODEResidualBlock
from mobileode_mm.backbones import fused as lean
from mobileode_mm.backbones.fused import LeanConvModule, make_lean
from mobileode_mm.ode.backends import cpu_operators

pytestmark = pytest.mark.skipif(not lean._has_operator(), reason='this torch is built without oneDNN')

BN = dict(type='BN')


@pytest.fixture
def at_once(monkeypatch):
    """Whether each call since was one operator."""
    calls = []
    plain = LeanConvModule._is_one_operator
    monkeypatch.setattr(LeanConvModule, '_is_one_operator', lambda self, x: calls.append(plain(self, x)) or calls[-1])
    return calls


def make(*args, **cfg):
    """mmcv's module, and ours with the same state, in eval mode; norms away from their initial values."""
    torch.manual_seed(0)
    theirs = ConvModule(*args, **cfg).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return theirs, make_lean(copy.deepcopy(theirs))


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
def test_values(cfg, layout, kernel, at_once):
    theirs, ours = make(10, 15, kernel, **cfg)
    x = (3 * torch.randn(2, 10, 7, 9)).contiguous(memory_format=layout)
    with torch.no_grad():
        expected = copy.deepcopy(theirs).double()(x.double())
        rounding = (theirs(x) - expected).abs().max()
        y = ours(x)
    assert at_once == [True] and y.dtype == x.dtype and y.stride() == theirs(x).stride()
    assert (y - expected).abs().max() <= 4 * rounding + 1e-6


@pytest.mark.parametrize('cfg', [
    dict(norm_cfg=dict(type='GN', num_groups=3)), dict(norm_cfg=BN, act_cfg=dict(type='Tanh')),
    dict(norm_cfg=BN, order=('norm', 'conv', 'act')), dict(norm_cfg=BN, padding=1, padding_mode='reflect'),
    dict(norm_cfg=BN, with_spectral_norm=True), dict(norm_cfg=dict(type='BN', affine=False)),
    dict(norm_cfg=dict(type='BN', track_running_stats=False)),
], ids=str)
def test_what_the_operator_does_not_know_is_left_to_mmcv(cfg, at_once):
    theirs, ours = make(6, 6, 3, **cfg)
    x = torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    assert at_once == [False]


def test_training_gradients_and_other_types_are_left_to_mmcv(at_once):
    theirs, ours = make(4, 6, 3, norm_cfg=BN)
    x = torch.randn(2, 4, 8, 8)
    for mode in (True, False):
        theirs.train(mode), ours.train(mode)
        theirs(x).sum().backward(), ours(x).sum().backward()
        for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
            assert torch.equal(a.grad, b.grad)
    ours.train()
    with torch.no_grad():
        theirs.train(), theirs(x), ours(x)
        assert torch.equal(theirs.bn.running_var, ours.bn.running_var)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert ours.eval()(x).dtype == torch.bfloat16
        assert ours(x[:0]).shape == (0, 6, 6, 6)
        ours.double()(x.double())
    assert not any(at_once)


@pytest.mark.parametrize('change', [
    lambda module: module.conv.weight.data.mul_(2), lambda module: module.bn.running_var.mul_(2),
    lambda module: module.load_state_dict(make(4, 6, 3, norm_cfg=BN, bias=True)[0].state_dict(), strict=False),
], ids=['weights', 'statistics', 'checkpoint'])
def test_never_stale(change, at_once):
    theirs, ours = make(4, 6, 3, norm_cfg=BN)
    x = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        ours(x)
        change(theirs), change(ours)
        torch.testing.assert_close(ours(x), theirs(x))
    assert at_once == [True, True]


def test_who_watches_the_parts_sees_them(at_once):
    _, ours = make(4, 6, 3, norm_cfg=BN)
    x, seen = torch.randn(1, 4, 8, 8), []
    handle = ours.conv.register_forward_hook(lambda *_: seen.append('conv'))
    with torch.no_grad():
        ours(x)
        handle.remove()
        with FlopCounterMode(display=False) as counter:
            ours(x)
    assert seen == ['conv'] and counter.get_total_flops() == 2 * 36 * 6 * 36
    assert at_once == [False, False]


def test_compiled_without_a_break(at_once):
    theirs, ours = make(4, 6, 3, norm_cfg=BN, act_cfg=dict(type='SiLU'))
    compiled = torch.compile(ours, fullgraph=True, backend='aot_eager')
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), theirs(x))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='no C++ compiler is installed')
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_machine_code_of_any_layout_and_size(layout):
    """Of a map with one channel one layout cannot be told from the other; stage 1 has one here, stage 2 four."""
    torch.manual_seed(0)
    network = MobileODEV1(widen_factor=0.125, input_size=64, out_indices=(2, 3))
    network.eval()
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


def test_networks_keep_their_names():
    theirs = nn.Sequential(ConvModule(3, 8, 3, norm_cfg=BN), nn.Sequential(ConvModule(8, 8, 1)))
    ours = make_lean(copy.deepcopy(theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [type(module) for module in ours.modules() if isinstance(module, ConvModule)] == 2 * [LeanConvModule]


@pytest.mark.parametrize('form', ['trained', 'deployed', 'compiled'])
@pytest.mark.parametrize('kind', [MobileODEV1, MobileODEV2])
def test_networks_infer_what_their_parts_do(kind, form, at_once):
    torch.manual_seed(0)
    network = kind(widen_factor=0.25, out_indices=(0, 3, 5), input_size=64, act_cfg=dict(type='SiLU'))
    network.init_weights()
    for _ in range(3):
        network(torch.randn(4, 3, 64, 64))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = as_released(copy.deepcopy(network).eval()).double()(x.double())
        assert not any(at_once)
        at_once.clear()
        if form == 'deployed':
            network.switch_to_deploy()
        network.eval()
        outputs = (torch.compile(network, fullgraph=True, backend='aot_eager') if form == 'compiled' else network)(x)
    if form != 'compiled':
        assert at_once and all(at_once)
    for a, b in zip(outputs, exact, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()


@pytest.mark.skipif(not cpu_operators.is_available(), reason='there is no C++ compiler here')
def test_a_solvers_hooks_are_called():
    block, seen = ODEResidualBlock(16, solver=dict(grid_size=3)).eval(), []
    x = torch.randn(1, 16, 3, 3)
    with torch.no_grad():
        y = block(x)
        block.project.solver.register_forward_hook(lambda *_: seen.append('solver'))
        torch.testing.assert_close(block(x), y)
    assert seen == ['solver']
