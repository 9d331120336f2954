"""The compiled CPU path against torch's operators and the plain reference: outputs and every gradient."""

import pickle
import subprocess
import sys

import pytest
import torch

from mobileode_mm.ode import ChannelwiseODESolver, DeployedODESolver, cos_naive
from mobileode_mm.ode.backends import cpu_operators

pytestmark = pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')


@pytest.fixture(autouse=True, scope='module')
def two_threads():
    """The kernels share their work, whatever the number of threads that the tests are run with."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def pair(c_in, c_out, steps, grid, norm='position', dtype=torch.float64, **kwargs):
    torch.manual_seed(0)
    layers = [ChannelwiseODESolver(c_in, c_out, steps, grid, norm, backend=backend, **kwargs).to(dtype)
              for backend in ('auto', 'reference')]
    torch.nn.init.normal_(layers[0].norm.weight, 1, 0.2)
    torch.nn.init.normal_(layers[0].norm.bias, 0, 0.2)
    torch.nn.init.normal_(layers[0].norm.running_mean, 0, 0.2)
    torch.nn.init.uniform_(layers[0].norm.running_var, 0.5, 2)
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def outputs_and_gradients(layer, x, probe):
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad((y * probe).sum(), [x, *layer.parameters()])]


def assert_same(ours, reference, x, training, calls):
    """Outputs, every gradient and the running statistics are the operators', and the compiled path gave them."""
    # The operators hold the resizing matrix in float32: as exact as the layer in float64 is.
    tolerance = dict(rtol=1e-6, atol=1e-6)
    ours.train(training), reference.train(training)
    probe = torch.randn(x.shape[0], ours.out_channels, *x.shape[2:], dtype=torch.float64)
    results = [outputs_and_gradients(layer, x, probe) for layer in (ours, reference)]
    assert calls == ['cos_train', 'cos_train_backward']
    assert ours.backend_for(x) == ('cpu', '') and reference.backend_for(x) == ('reference', '')
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    for (name, a), b in zip(ours.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(a, b, **tolerance, msg=name)


@pytest.mark.parametrize('c_in, c_out', [(64, 64), (144, 144), (144, 576), (576, 144), (2304, 576), (9, 16), (1, 4),
                                         (289, 361), (4096, 4096), (576, 5184), (5184, 5184)])
@pytest.mark.parametrize('batch, height, width, grid', [(2, 3, 5, (3, 5)), (1, 1, 1, (1, 1)), (3, 4, 1, (2, 2))])
@pytest.mark.parametrize('training', [True, False])
def test_equals_operators(c_in, c_out, batch, height, width, grid, training, called):
    ours, reference = pair(c_in, c_out, 3, grid)
    assert_same(ours, reference, torch.randn(batch, c_in, height, width, dtype=torch.float64), training, called)


@pytest.mark.parametrize('c_in, c_out, options', [
    *((*widths, dict(resize_mode=mode)) for widths in ((144, 144), (144, 576), (576, 144), (1, 4))
      for mode in ('nearest', 'bicubic')),
    (144, 576, dict(expand_gain=0.5)), (1, 4, dict(expand_gain=0.5, resize_mode='bicubic'))])
@pytest.mark.parametrize('training', [True, False])
def test_other_resizes_and_gains_go_before_it(c_in, c_out, options, training, called):
    ours, reference = pair(c_in, c_out, 3, (3, 5), **options)
    x = torch.randn(2, c_in, 3, 5, dtype=torch.float64)
    assert_same(ours, reference, x, training, called)
    with torch.no_grad():
        y, expected = DeployedODESolver(ours.eval())(x), reference.eval()(x)
    assert called[2:] == ['cos_deployed']
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('c_in, c_out', [(64, 64), (144, 576), (576, 144), (9, 16), (1, 4), (1444, 1444)])
@pytest.mark.parametrize('batch, height, width', [(2, 3, 5), (1, 1, 2), (3, 13, 11)])
@pytest.mark.parametrize('training', [True, False])
def test_channel_norm_equals_operators(c_in, c_out, batch, height, width, training, called):
    """One position, one short sum and several of them."""
    ours, reference = pair(c_in, c_out, 3, 1, 'channel')
    x = torch.randn(batch, c_in, height, width, dtype=torch.float64) + 3
    assert_same(ours, reference, x, training, called)


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('c_in, c_out', [(side**2, side**2) for side in range(2, cpu_operators.LARGEST_SIDE + 1, 7)]
                         + [(4, 9), (121, 49), (625, 324), (5476, 64)])
def test_equals_operators_in_float32(c_in, c_out, norm):
    """Of every remainder of the blocks of rows and vectors; sides over the largest come in alone."""
    ours, exact = pair(c_in, c_out, 3, (2, 2), norm)
    ours = ours.float()
    x = torch.randn(2, c_in, 2, 2, dtype=torch.float64)
    probe = torch.randn(2, c_out, 2, 2, dtype=torch.float64)
    results = outputs_and_gradients(ours, x.float(), probe.float()), outputs_and_gradients(exact, x, probe)
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() < 1e-3 * b.norm()  # an input near 0 or 6 may pass ReLU6 in one of them alone


@pytest.mark.parametrize('c_in, c_out', [(144, 144), (144, 576), (576, 144)])
def test_a_number_that_is_none_spoils_its_position_alone(c_in, c_out):
    ours, reference = (layer.eval() for layer in pair(c_in, c_out, 3, (3, 3)))
    x = torch.randn(1, c_in, 3, 3, dtype=torch.float64)
    x[0, 5, 1, 1] = torch.nan
    with torch.no_grad():
        y, expected = ours(x), reference(x)
    torch.testing.assert_close(y.isnan().any(1), expected.isnan().any(1))
    torch.testing.assert_close(y[:, :, 0], expected[:, :, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_inference_in_float32(norm, layout, called):
    ours, _ = pair(144, 576, 3, (4, 4), norm, torch.float32)
    exact = pair(144, 576, 3, (4, 4), norm)[1].eval()
    exact.load_state_dict(ours.state_dict())
    x = torch.randn(2, 144, 4, 7).contiguous(memory_format=layout)
    with torch.no_grad():
        y = ours.eval()(x)
        assert (y - exact(x.double())).abs().max() < 1e-5
    assert called == ['cos_eval']
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('map_size', [None, (3, 5)])
@pytest.mark.parametrize('c_in, c_out', [(144, 144), (256, 256), (9, 16), (576, 144), (289, 361), (1, 4)])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_deploy_form_with_what_follows_in_a_network(c_in, c_out, norm, map_size, dtype, tolerance, called):
    exact = pair(c_in, c_out, 3, (3, 5), norm)[1].eval()
    after = torch.nn.BatchNorm2d(c_out).double().eval()
    for value in after.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    x, residual = torch.randn(2, c_in, 3, 5, dtype=torch.float64), torch.randn(2, c_out, 3, 5, dtype=torch.float64)
    ours, by_operators = (DeployedODESolver(exact, map_size, after).to(dtype) for _ in range(2))
    ours.backend, by_operators.backend = 'auto', 'operators'
    x_ours, residual_ours = x.to(dtype), residual.to(dtype)
    with torch.no_grad():
        expected = torch.nn.functional.relu6(after(exact(x)))
        results = [(layer(x_ours), layer(x_ours, residual_ours)) for layer in (ours, by_operators)]
        assert (ours.backend_for(x_ours)[0], by_operators.backend_for(x_ours)[0]) == ('cpu', 'operators')
    assert called == ['cos_deployed'] * 2
    for pair_of_results in results:
        for result, wanted in zip(pair_of_results, (expected, expected + residual)):
            assert result.dtype == dtype and result.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(result.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('offset', [0, 1])
def test_rows_that_are_whole_vectors_where_they_are(offset, called):
    """A map of a larger storage may begin anywhere."""
    ours, reference = (layer.eval() for layer in pair(256, 256, 3, (3, 5)))
    x = torch.randn(2 * 3 * 5 * 256 + 1, dtype=torch.float64)[offset:offset + 2 * 3 * 5 * 256]
    x = x.view(2, 3, 5, 256).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), reference(x), rtol=1e-6, atol=1e-6)
    assert called == ['cos_eval']


def test_steps_that_are_too_short(called):
    ours, reference = (layer.eval() for layer in pair(144, 144, 3, (3, 5)))
    for layer in (ours, reference):
        layer.delta_t.data.copy_(torch.tensor([-1, 0.2, 0.7]))
    x = torch.randn(2, 144, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        y = ours(x)
        torch.testing.assert_close(y, reference(x), rtol=1e-6, atol=1e-6)
        ours.delta_t[1] = torch.nan
        assert ours(x).isnan().all()
    assert called == ['cos_eval'] * 2


def test_plain_reference(called):
    ours, _ = pair(64, 144, 2, (3, 3))

    def norm(y):
        mean, var = y.mean((0, 3), keepdim=True), y.var((0, 3), unbiased=False, keepdim=True)
        return (y - mean) / torch.sqrt(var + 1e-5) * ours.norm.weight[None, ..., None] + ours.norm.bias[None, ..., None]

    x = torch.randn(2, 64, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(x), cos_naive(x, ours.matrices, ours.delta_t, norm), rtol=1e-6, atol=1e-6)
    assert called == ['cos_train']


@pytest.mark.parametrize('training', [True, False])
def test_hooks_on_the_norm_are_called(training):
    """Once a step, by whatever path; without them the layer goes back to the kernels."""
    ours, reference = pair(9, 9, 3, (3, 5))
    x = torch.randn(2, 9, 3, 5, dtype=torch.float64)
    shapes, results = [], []
    for layer in (ours, reference):
        hook = layer.norm.register_forward_hook(lambda norm, inputs, y: shapes.append(tuple(y.shape)))
        results.append(layer.train(training)(x.clone().requires_grad_()))
        hook.remove()
    assert shapes == [(2, 3, 5, 9)] * 6
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)
    assert ours.backend_for(x) == ('cpu', '')


@pytest.mark.parametrize('change', ['load', 'optimiser', 'in place', 'data'])
def test_never_stale(change):
    ours, reference = pair(64, 64, 3, (4, 4), dtype=torch.float32)
    x = torch.randn(1, 64, 4, 4)
    with torch.no_grad():
        before = ours.eval()(x)
    if change == 'load':
        ours.load_state_dict({k: v * 1.5 if v.is_floating_point() else v for k, v in ours.state_dict().items()})
    elif change == 'optimiser':
        ours(x).sum().backward()
        torch.optim.SGD(ours.parameters(), lr=0.01).step()
    elif change == 'in place':
        with torch.no_grad():
            ours.matrices.mul_(2)
            ours.norm.running_mean.add_(1)
    else:
        ours.matrices.data.copy_(2 * ours.matrices.data)  # what EMA does: no version counter tells of it
    reference.load_state_dict(ours.state_dict())
    with torch.no_grad():
        after = ours(x)
        assert (after - before).abs().max() > 1e-3
        torch.testing.assert_close(after, reference.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('norm', ['position', 'channel'])
def test_same_bits_every_time_and_twice_in_one_graph(norm):
    ours, reference = pair(64, 64, 3, (5, 5), norm)
    x = torch.randn(4, 64, 5, 5, dtype=torch.float64)

    def twice(layer):
        layer.zero_grad()
        layer(layer(x)).square().sum().backward()
        return [parameter.grad.clone() for parameter in layer.parameters()]

    first, again = twice(ours), twice(ours)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    for a, b in zip(first, twice(reference)):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def saved_bytes(layer, x):
    sizes = {}

    def note(tensor):
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(x)
    return sum(sizes.values())


@pytest.mark.parametrize('norm', ['position', 'channel'])
def test_saves_its_input_and_statistics_alone(norm):
    few, many = (saved_bytes(pair(144, 144, steps, (8, 8), norm, torch.float32)[0],
                             torch.randn(8, 144, 8, 8, requires_grad=True)) for steps in (3, 12))
    assert many <= 1.15 * few


@pytest.mark.parametrize('norm', ['position', 'channel'])
@pytest.mark.parametrize('solver, dtype', [('rk4', torch.float64), ('euler', torch.bfloat16)])
def test_what_it_does_not_serve_goes_through_the_operators(solver, dtype, norm, called):
    layer = ChannelwiseODESolver(64, 64, 2, 3, norm, solver).to(dtype)
    x = torch.randn(2, 64, 3, 3, dtype=dtype)
    layer(x).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    with torch.no_grad():
        y = layer.eval()(x)
    assert called == []
    reasons = {'rk4': "cpu: the kernels take Euler steps, and the solver is 'rk4'", 'euler': 'cpu: x is torch.bfloat16'}
    assert layer.backend_for(x) == ('operators', reasons[solver])
    with torch.no_grad():
        exact = layer.double()(x.double())
    assert y.dtype == dtype and (y - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_unknown_backend():
    with pytest.raises(ValueError, match="backend='cuda' is unknown; legal: 'auto', 'reference'"):
        ChannelwiseODESolver(64, 64, backend='cuda')


def test_without_a_compiler_the_operators_serve(tmp_path):
    program = '''
import warnings, torch
from mobileode_mm.ode import ChannelwiseODESolver
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    layer = ChannelwiseODESolver(64, 64)
    assert layer(torch.randn(2, 64, 8, 8)).isfinite().all()
    layer(torch.randn(2, 64, 8, 8))
print([str(w.message) for w in caught if 'MobileODE' in str(w.message)])
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True,
                          env={'PATH': str(tmp_path), 'XDG_CACHE_HOME': str(tmp_path), 'HOME': str(tmp_path)})
    assert done.stdout.count('no C++ compiler (c++, g++, clang++) is installed') == 1


def test_an_unpickled_layer_asks_the_backends_anew():
    """It may come from a machine that has others."""
    layer = ChannelwiseODESolver(9, 9)
    layer.candidates, layer.never = ('operators', ), 'cpu: not there'
    assert pickle.loads(pickle.dumps(layer)).backend_for(torch.zeros(1, 9, 2, 2)) == ('cpu', '')
