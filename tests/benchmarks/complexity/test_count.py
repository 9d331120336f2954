"""Counts against closed formulas and against other counters."""
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.complexity import Cost, count, solver_cost
from benchmarks.complexity.solver import scheme
from mobileode_mm import MobileNetV1, MobileODEV1, MobileODEV2, create_model
from mobileode_mm.ode import SOLVERS, ChannelwiseODESolver, cos_naive
from mobileode_mm.ode.backends import cpu_operators


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class NaiveSolver(nn.Module):
    """A solver written straight from its formulas, with a norm of two operations a value."""

    def __init__(self, solver):
        super().__init__()
        self.matrices, self.delta_t = solver.matrices, solver.delta_t

    def forward(self, x):
        return cos_naive(x, self.matrices, self.delta_t, lambda y: y * 2 + 1)


def with_naive_solvers(model):
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, ChannelwiseODESolver):
                setattr(module, name, NaiveSolver(child))
    return model


# One layer: 2 images of 4 channels, 6×10 positions.
POSITIONS = 2 * 6 * 10
LAYERS = {
    'convolution': (nn.Conv2d(4, 8, 3, padding=1), 'convolution', POSITIONS * 8 * 9 * 4, POSITIONS * 8, 1),
    'strided': (nn.Conv2d(4, 8, 3, 2, 1, bias=False), 'convolution', POSITIONS // 4 * 8 * 9 * 4, POSITIONS // 4 * 8, 0),
    'pointwise': (nn.Conv2d(4, 8, 1), 'pointwise convolution', POSITIONS * 8 * 4, POSITIONS * 8, 1),
    'depthwise': (nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False), 'depthwise convolution', POSITIONS * 4 * 25,
                  POSITIONS * 4, 0),
    'depthwise with multiplier': (nn.Conv2d(4, 8, 3, padding=1, groups=4), 'depthwise convolution', POSITIONS * 8 * 9,
                                  POSITIONS * 8, 1),
    'grouped': (nn.Conv2d(4, 8, 3, padding=1, groups=2), 'grouped convolution', POSITIONS * 8 * 9 * 2, POSITIONS * 8,
                1),
    'transposed': (nn.ConvTranspose2d(4, 8, 2, 2, bias=False), 'convolution', POSITIONS * 4 * 8 * 4,
                   POSITIONS * 4 * 8, 0),
    'linear': (nn.Sequential(nn.Flatten(), nn.Linear(240, 7)), 'matrix product', 2 * 240 * 7, 2 * 7, 1),
}


@pytest.mark.parametrize('layer, kind, macs, outputs, bias', LAYERS.values(), ids=LAYERS)
def test_convolutions_and_matrix_products(layer, kind, macs, outputs, bias):
    found = count(layer, (2, 4, 6, 10))
    assert found.kinds == {kind: Cost(macs, 2 * macs + bias * outputs, outputs)}
    assert found.cost == found.kinds[kind] and not found.unknown
    assert found.parameters == sum(parameter.numel() for parameter in layer.parameters())


VALUES = 2 * 4 * 6 * 10


@pytest.mark.parametrize('module, kind, flops', [
    (nn.ReLU6(inplace=True), 'elementwise', 2 * VALUES),
    (nn.SiLU(), 'elementwise', 4 * VALUES),
    (Function(lambda x: x + x), 'elementwise', VALUES),
    (nn.BatchNorm2d(4), 'norm', 2 * VALUES),
    (nn.AdaptiveAvgPool2d(1), 'pooling', VALUES),
    (nn.MaxPool2d(3, 1, 1), 'pooling', 9 * VALUES),
    (nn.AvgPool2d((1, 2)), 'pooling', VALUES),
    (Function(lambda x: F.interpolate(x, (3, 5), mode='bilinear')), 'resize', 7 * VALUES // 4),
    (Function(lambda x: torch.relu(x.flatten(1).unsqueeze(2).repeat(1, 3, 1))), 'elementwise', 3 * VALUES),
], ids=str)
def test_other_operators(module, kind, flops):
    found = count(module, (2, 4, 6, 10))
    assert found.kinds == {kind: Cost(flops=flops)} and not found.unknown


def test_unknown_operators_are_listed_and_not_zero_in_silence():
    found = count(nn.Sequential(Function(lambda x: torch.i0(x) * torch.i0(x)), nn.ReLU()), (1, 1, 2, 2))
    assert found.unknown == {'aten::i0': 2}
    assert found.cost == Cost(flops=8)


def test_a_network_that_looks_at_its_values():
    found = count(Function(lambda x: x + 1 if x.max().item() < 1 else x), (1, 1, 4, 4))
    assert found.kinds['elementwise'] == Cost(flops=16)


SIDES = [(4, 4, 3), (4, 8, 2), (6, 3, 1), (5, 5, 10)]


@pytest.mark.parametrize('side_in, side, steps', SIDES)
def test_solver(side_in, side, steps):
    """The layer as its formulas say, counted operator by operator, and the closed formula."""
    solver = ChannelwiseODESolver(side_in ** 2, side ** 2, steps)
    shape = (2, side_in ** 2, 3, 5)
    positions = 2 * 3 * 5
    ours, naive = count(solver, shape), count(NaiveSolver(solver), shape)
    assert ours.kinds['COS matrix product'].macs == steps * side ** 3 * positions
    assert ours.kinds['COS matrix product'] == naive.kinds['matrix product']
    values = side ** 2 * positions
    # The naive one adds y to yK each time, and clamps L numbers (2 each); its norm counts as elementwise.
    assert naive.kinds['elementwise'].flops == (
        ours.kinds['COS elementwise'] + ours.kinds['COS norm']).flops + steps * values + 2 * steps
    assert ('COS resize' in ours.kinds) == (side_in != side)
    if side_in != side:
        y, a = torch.zeros(positions, side_in, side_in), torch.zeros(side, side_in)
        products = count(Function(lambda _: a @ y @ a.T), (1, ))
        assert ours.kinds['COS resize'] == products.kinds['matrix product']
    assert ours.parameters == steps * (side ** 2 + 1) + 2 * 8 * 8  # the norm's own grid is 8×8
    assert ours.idle_parameters == {}


@pytest.mark.parametrize('name, evaluations, flops', [('euler', 1, 3), ('midpoint', 2, 6), ('heun', 2, 9),
                                                      ('rk4', 4, 17)])
def test_scheme(name, evaluations, flops):
    assert scheme(name) == (evaluations, flops)
    layer = ChannelwiseODESolver(16, 16, 2, solver=name)
    found = count(layer, (1, 16, 3, 3)).kinds
    assert found['COS matrix product'].macs == evaluations * 2 * 4 ** 3 * 9
    assert found == {kind: cost for kind, cost in solver_cost(4, 4, 2, 9, evaluations, flops).items() if cost != Cost()}


def test_a_gain_is_counted():
    plain, ours = (count(ChannelwiseODESolver(9, 36, 2, expand_gain=gain), (1, 9, 3, 5)) for gain in (None, 0.5))
    assert ours.parameters - plain.parameters == 36 and ours.idle_parameters == {}
    assert ours.cost.flops - plain.cost.flops == 36 * 3 * 5 and ours.cost.macs == plain.cost.macs


def test_every_scheme_can_be_counted():
    assert all(scheme(name)[0] >= 1 for name in SOLVERS)


@pytest.mark.parametrize('network', [MobileODEV1, MobileODEV2, MobileNetV1])
def test_networks_against_torchs_counter(network):
    """torch counts convolutions and matrix products, two for each multiply-add."""
    model = network(widen_factor=0.5, input_size=64) if network is not MobileNetV1 else network(widen_factor=0.5)
    model.eval()
    ours = count(model, (1, 3, 64, 64))
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        with_naive_solvers(model)(torch.zeros(1, 3, 64, 64))
    resize = ours.kinds.get('COS resize', Cost()).macs  # the naive solver interpolates instead
    assert theirs.get_total_flops() == 2 * (ours.cost.macs - resize)
    assert not ours.unknown


@pytest.mark.parametrize('channels', [(16, 16), (16, 36), (36, 16)])
def test_torchs_counter_knows_the_kernels(channels):
    """In inference and training it counts as much as of the operators that they stand for."""
    x = torch.randn(2, channels[0], 5, 3, requires_grad=True)
    counted = {}
    for backend in ('auto', 'reference'):
        layer = ChannelwiseODESolver(*channels, 3, (5, 3), backend=backend)
        with FlopCounterMode(display=False) as forward:
            y = layer(x)
        with FlopCounterMode(display=False) as backward:
            y.sum().backward()
        with FlopCounterMode(display=False) as inference, torch.no_grad():
            layer.eval()(x)
        counted[backend] = [counter.get_total_flops() for counter in (forward, inference, backward)]
    assert counted['auto'][:2] == counted['reference'][:2]
    if cpu_operators.is_available():  # which takes the steps again in the backward pass
        assert counted['auto'][2] == counted['reference'][2] + counted['reference'][0]


def test_networks_against_fvcore():
    fvcore = pytest.importorskip('fvcore.nn', reason='fvcore is not installed')
    model = create_model('mobilenet_v1', num_classes=10, widen_factor=0.25).eval()
    theirs = fvcore.FlopCountAnalysis(model, torch.zeros(1, 3, 64, 64)).by_operator()
    ours = count(model, (1, 3, 64, 64)).kinds
    assert theirs['conv'] == sum(cost.macs for kind, cost in ours.items() if 'convolution' in kind)
    assert theirs['linear'] == ours['matrix product'].macs


def test_the_hand_count():
    """MobileODE V1 at 256 px, stage by stage on paper: 296 million multiply-adds with 1000 classes."""
    total = 3 * 9 * 32 * 128 ** 2  # stem
    width = 32
    for side, blocks, positions in ((8, 0, 128 ** 2), (12, 1, 64 ** 2), (16, 1, 32 ** 2), (24, 5, 16 ** 2),
                                    (24, 1, 8 ** 2)):
        total += positions * (9 * width + width * side ** 2)
        width = side ** 2
        total += blocks * positions * (9 * width + 3 * side ** 3)
    total += width * 1000
    found = count(create_model('mobileode_v1'), (1, 3, 256, 256))
    assert found.cost.macs == total
    assert round(total / 1e6) == 296
    assert found.parameters == sum(parameter.numel() for parameter in create_model('mobileode_v1').parameters())


def test_solvers_are_counted_however_they_are_programmed(monkeypatch):
    model = MobileODEV2(widen_factor=0.25)
    expected = count(model, (1, 3, 64, 64))

    def another(self, x):
        raise AssertionError('not to be run')
    monkeypatch.setattr(ChannelwiseODESolver, 'forward', another)
    assert count(model, (1, 3, 64, 64)) == expected
    assert expected.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_stages_add_up_and_idle_parameters_are_named():
    model = nn.Module()
    model.backbone = MobileODEV1(widen_factor=0.5, out_indices=(3, ))
    model.head = nn.ModuleList([nn.Conv2d(64, 2, 1), nn.Conv2d(2, 3, 1)])

    def forward(model, x):
        return model.head[1](model.head[0](model.backbone(x)[0])) + 1
    found = count(model, (1, 3, 64, 64), forward)
    assert sum((stage.cost for stage in found.stages), Cost()) == found.cost
    assert sum(found.kinds.values(), Cost()) == found.cost
    assert [stage.name for stage in found.stages] == [
        'backbone.stem', *(f'backbone.stage{number}' for number in range(1, 6)), 'head.0', 'head.1', '']
    assert found.stages[3].output == (64, 8, 8) and found.stages[5].output is None
    idle = {f'backbone.stage{number}': sum(parameter.numel() for parameter in getattr(
        model.backbone, f'stage{number}').parameters()) for number in (4, 5)}
    assert found.idle_parameters == idle
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters()) - sum(idle.values())
    assert sum(stage.parameters for stage in found.stages) == found.parameters + sum(idle.values())


def test_the_model_is_left_as_it_is():
    model = MobileODEV1(widen_factor=0.25).train()
    before = copy.deepcopy(model.state_dict())
    count(model, (2, 3, 64, 64))
    assert all(module.training for module in model.modules())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert all('forward' not in vars(module) for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_size_costs_nothing():
    small, large = (count(MobileODEV1(widen_factor=0.25), (1, 3, side, side)) for side in (64, 2 ** 17))
    assert large.cost.macs == small.cost.macs * (2 ** 11) ** 2
