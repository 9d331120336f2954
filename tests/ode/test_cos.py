"""The layer and the plain reference against the released program's numbers, and against each other."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mobileode_mm.checkpoints.released import rename_cvnets_entries
from mobileode_mm.ode import SOLVERS, ChannelwiseODESolver, PositionNorm, cos_naive
from mobileode_mm.ode.tracing import assume_constant_result

DATA = Path(__file__).parents[1] / 'fixtures'
COS_FILES = sorted(DATA.glob('cos_*.npz'))
LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


def entries(file, prefix):
    """Entries below ``prefix`` of a fixture, under our names."""
    raw = {key[len(prefix):]: torch.from_numpy(file[key]) for key in file.files if key.startswith(prefix)}
    return rename_cvnets_entries(raw)


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()


def load(path):
    file = np.load(path)
    c_in, c_out = map(int, path.stem.split('_')[1].split('to'))
    state = entries(file, 'state/')
    layer = ChannelwiseODESolver(c_in, c_out, num_steps=len(state['delta_t']), grid_size=file['x'].shape[2])
    layer.load_state_dict(state, strict=True)
    return file, layer


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('path', COS_FILES, ids=lambda p: p.stem)
def test_released_numbers(path, layout):
    file, layer = load(path)
    x = torch.from_numpy(file['x']).contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    with torch.no_grad():
        eval_error = (layer.eval()(x) - torch.from_numpy(file['y_eval'])).abs().max()
    assert eval_error < 1e-5

    y = layer.train()(x)
    assert (y - torch.from_numpy(file['y_train'])).abs().max() < 1e-5
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    assert relative(x.grad, torch.from_numpy(file['grad_x'])) < 1e-4
    expected = entries(file, 'grad/')
    expected = {k: v.reshape(dict(layer.named_parameters())[k].shape) for k, v in expected.items()}
    assert set(expected) == {name for name, _ in layer.named_parameters()}
    for name, parameter in layer.named_parameters():
        assert relative(parameter.grad, expected[name]) < 1e-4, name
    for name, value in entries(file, 'after_train/').items():
        if 'running' in name:
            ours = dict(layer.named_buffers())[name]
            assert (ours - value.reshape(ours.shape)).abs().max() < 1e-6, name


def plain_norm(layer):
    """An independent batch norm by position, in train mode, of (B, H, W, C)."""
    def norm(y):
        mean, var = y.mean((0, 3), keepdim=True), y.var((0, 3), unbiased=False, keepdim=True)
        weight, bias = layer.norm.weight[None, ..., None], layer.norm.bias[None, ..., None]
        return (y - mean) / torch.sqrt(var + 1e-5) * weight + bias
    return norm


@pytest.mark.parametrize('num_steps', [1, 3])
@pytest.mark.parametrize('c_in, c_out', [(9, 9), (16, 64), (64, 16), (1, 4), (25, 36)])
@pytest.mark.parametrize('batch, height, width', [(2, 3, 5), (1, 1, 1), (3, 7, 2)])
def test_layer_equals_reference(batch, height, width, c_in, c_out, num_steps):
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(c_in, c_out, num_steps, grid_size=(height, width)).double()
    torch.nn.init.normal_(layer.norm.weight, 1, 0.2)
    torch.nn.init.normal_(layer.norm.bias, 0, 0.2)
    x = torch.randn(batch, c_in, height, width, dtype=torch.double, requires_grad=True)
    probe = torch.randn(batch, c_out, height, width, dtype=torch.double)
    results = []
    for function in (layer, lambda x: cos_naive(x, layer.matrices, layer.delta_t, plain_norm(layer))):
        y = function(x)
        results.append([y.detach(), *torch.autograd.grad((y * probe).sum(), [x, *layer.parameters()])])
    for ours, reference in zip(*results):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('backend', ['auto', 'operators', 'reference'])
def test_a_gain_equals_the_reference(backend):
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(9, 36, 2, grid_size=(3, 2), backend=backend, expand_gain=0.5).double()
    x = torch.randn(2, 9, 3, 2, dtype=torch.double, requires_grad=True)
    probe = torch.randn(2, 36, 3, 2, dtype=torch.double)
    parameters = dict(layer.named_parameters())
    assert parameters['gain'].shape == (36, ) and parameters['gain'].std() > 0.1
    results = []
    for function in (layer, lambda x: cos_naive(x, layer.matrices, layer.delta_t, plain_norm(layer), layer.gain)):
        y = function(x)
        results.append([y.detach(), *torch.autograd.grad((y * probe).sum(), [x, *parameters.values()])])
    for ours, reference in zip(*results):
        torch.testing.assert_close(ours, reference, rtol=1e-6, atol=1e-6)
    states = layer.eval().trajectory(x)
    torch.testing.assert_close(states[-1] + states[0], layer(x), rtol=1e-6, atol=1e-6)


def test_without_a_gain_all_is_as_released():
    """The same entries, and from a seed the same numbers."""
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(9, 36, 2, grid_size=2)
    torch.manual_seed(0)
    matrices, delta_t = torch.randn(2, 6, 6) * 0.1, 0.4 + 0.005 * torch.randn(2)
    assert torch.equal(layer.matrices, matrices) and torch.equal(layer.delta_t, delta_t)
    assert [*layer.state_dict()] == ['matrices', 'delta_t', 'norm.weight', 'norm.bias', 'norm.running_mean',
                                     'norm.running_var', 'norm.num_batches_tracked']
    torch.manual_seed(0)
    changed = ChannelwiseODESolver(9, 36, 2, grid_size=2, expand_gain=0, init_std=0.3)
    torch.testing.assert_close(changed.matrices, 3 * matrices)
    assert torch.equal(changed.gain, torch.ones(36))
    x = torch.randn(2, 9, 2, 2)
    changed.load_state_dict(layer.state_dict(), strict=False)
    torch.testing.assert_close(changed(x), layer(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('solver, expand_gain', [*((name, None) for name in SOLVERS), ('euler', 0.5), ('heun', 0.5)])
@pytest.mark.parametrize('training', [True, False])
def test_gradcheck(norm, solver, expand_gain, training):
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(4, 9, 2, grid_size=(2, 3), norm=norm, solver=solver, expand_gain=expand_gain)
    layer.double().train(training)
    layer.delta_t.data = torch.tensor([0.7, 0.3], dtype=torch.double)  # one free, one clamped
    x = torch.randn(2, 4, 3, 2, dtype=torch.double, requires_grad=True)
    parameters = list(layer.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *parameters))


def test_clamped_step_gets_no_gradient():
    layer = ChannelwiseODESolver(9, 9, 2, grid_size=2)
    layer.delta_t.data = torch.tensor([0.2, 0.8])
    layer(torch.randn(2, 9, 2, 2)).square().sum().backward()
    assert layer.delta_t.grad[0] == 0
    assert layer.delta_t.grad[1] != 0


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_keeps_the_norm_in_float32(dtype, monkeypatch):
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(64, 64, grid_size=4)
    x = torch.randn(2, 64, 4, 4)
    seen = []
    normalise = layer.norm.normalise

    def noted(z):
        out = normalise(z)
        seen.append((z.dtype, out[0].dtype))
        return out
    monkeypatch.setattr(layer.norm, 'normalise', noted)
    with torch.autocast('cpu', dtype=dtype):
        out = layer(x.to(dtype))
    assert seen == [(torch.float32, torch.float32)] * 3
    assert out.dtype == dtype
    assert layer.norm.running_mean.dtype == torch.float32
    exact = layer(x)
    assert (out.float() - exact).abs().mean() < 0.02 * exact.abs().mean()
    out.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())


def test_norm_under_autocast_does_not_lose_a_large_mean():
    norm = PositionNorm((2, 2))
    y = 1000 + torch.randn(8, 2, 2, 64)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = norm(y)
    exact = y.double()
    reference = (exact - exact.mean((0, 3), keepdim=True)) / exact.std((0, 3), correction=0, keepdim=True)
    assert (out - reference).abs().max() < 1e-2


@pytest.mark.parametrize('expand_gain', [None, 0.5])
def test_forward_keeps_no_state_and_compiles_to_one_graph(expand_gain):
    layer = ChannelwiseODESolver(16, 64, grid_size=3, expand_gain=expand_gain).eval()
    x, other = torch.randn(2, 16, 3, 3), torch.randn(1, 16, 5, 2)
    first = layer(x)
    layer(other)
    assert torch.equal(layer(x), first)
    explained = torch._dynamo.explain(layer)(x)
    assert explained.graph_count == 1 and explained.graph_break_count == 0
    explained = torch._dynamo.explain(layer.train())(other)
    assert explained.graph_count == 1 and explained.graph_break_count == 0


def test_solvers_reach_their_order():
    exact = torch.sqrt(1 - torch.exp(torch.tensor(-2.0, dtype=torch.double)) * 0.75)

    def error(solver, steps):
        """Of y' = 1/y − y from y(0) = 1/2 at time 1."""
        y = torch.tensor(0.5, dtype=torch.double)
        for _ in range(steps):
            y = solver(lambda y: 1 / y, y, torch.tensor(1 / steps, dtype=torch.double))
        return (y - exact).abs().item()

    for name, order in (('euler', 1), ('midpoint', 2), ('heun', 2), ('rk4', 4)):
        ratio = error(SOLVERS[name], 40) / error(SOLVERS[name], 80)
        assert 2 ** order * 0.85 < ratio < 2 ** order * 1.3, (name, ratio)


def test_parameter_count():
    assert sum(p.numel() for p in ChannelwiseODESolver(144, 144, 3, grid_size=(5, 7)).parameters()) == 3 * 145 + 70


@pytest.mark.parametrize('arguments, words', [
    (dict(in_channels=150, out_channels=144), ['in_channels=150', '144 and 169']),
    (dict(in_channels=144, out_channels=0), ['out_channels=0', '1']),
    (dict(in_channels=144, out_channels=144, num_steps=0), ['num_steps=0', '1']),
    (dict(in_channels=144, out_channels=144, norm='layer'), ["norm='layer'", "'position'", "'channel'"]),
    (dict(in_channels=144, out_channels=144, solver='heun9'), ["solver='heun9'", "'euler'"]),
    (dict(in_channels=144, out_channels=144, resize_mode='area'), ["resize_mode='area'", "'bilinear', 'nearest'"]),
    (dict(in_channels=144, out_channels=144, grid_size=(0, 3)), ['grid_size=(0, 3)', '(1, 1)']),
    (dict(in_channels=144, out_channels=144, expand_gain=0.5), ['expand_gain=0.5', '144 channels of 144', 'None']),
    (dict(in_channels=144, out_channels=36, expand_gain=0), ['expand_gain=0', '36 channels of 144']),
    (dict(in_channels=36, out_channels=144, expand_gain=-1), ['expand_gain=-1', '0 and more']),
    (dict(in_channels=144, out_channels=144, init_std=float('nan')), ['init_std=nan', '0 and more']),
])
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError) as error:
        ChannelwiseODESolver(**arguments)
    assert all(word in str(error.value) for word in words)


def test_a_constant_of_the_compiler_is_what_torch_has_for_it():
    ours, theirs = assume_constant_result(lambda: 0), torch.compiler.assume_constant_result(lambda: 0)
    assert vars(ours) == vars(theirs) != {}
