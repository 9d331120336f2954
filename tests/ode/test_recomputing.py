"""The operators that recompute their steps against those that store them: numbers, statistics, memory."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mobileode_mm.ode import SOLVERS, ChannelwiseODESolver

# Norm, solver, in training.
CASES = [('channel', 'euler', True), ('channel', 'euler', False), ('position', 'rk4', True),
         ('position', 'heun', False)]


def pair(norm='channel', solver='euler', c_in=16, c_out=36, steps=3, dtype=torch.float64, **kwargs):
    """A layer that recomputes and the reference, with the same weights and statistics."""
    torch.manual_seed(0)
    layers = [ChannelwiseODESolver(c_in, c_out, steps, (3, 4), norm, solver, backend, **kwargs).to(dtype)
              for backend in ('operators', 'reference')]
    torch.nn.init.normal_(layers[0].norm.weight, 1, 0.2)
    torch.nn.init.normal_(layers[0].norm.bias, 0, 0.2)
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


def step(layer, x, times=1, autocast=None):
    """Output, gradients and buffers of a forward and backward pass; ``times``: the layer after itself."""
    x = x.clone().requires_grad_()
    with torch.autocast('cpu', dtype=autocast, enabled=autocast is not None):
        y = x
        for _ in range(times):
            y = layer(y)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    grads = torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])
    return [y, *grads, *(buffer.clone() for buffer in layer.buffers())]


@pytest.mark.parametrize('norm, solver, training', CASES)
@pytest.mark.parametrize('size', [(3, 4), (2, 5)])
def test_equals_the_reference(norm, solver, training, size):
    x = torch.randn(2, 16, *size, dtype=torch.float64)
    ours, reference = (step(layer.train(training), x) for layer in pair(norm, solver))
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_twice_in_one_graph():
    x = torch.randn(3, 36, 3, 4, dtype=torch.float64)
    ours, reference = (step(layer, x, times=2) for layer in pair(c_in=36))
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize('norm', ['position', 'channel'])
def test_autocast_is_restored_for_the_backward_pass(norm):
    """The same operators in the same types: the same bits."""
    x = torch.randn(4, 16, 3, 4)
    ours, reference = (step(layer, x, autocast=torch.bfloat16) for layer in pair(norm, dtype=torch.float32))
    buffers = 6  # moved by another operator
    assert all(torch.equal(a, b) for a, b in zip(ours[:-buffers], reference[:-buffers], strict=True))
    for a, b in zip(ours[-buffers:], reference[-buffers:], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('solver', SOLVERS)
def test_running_statistics_move_once_a_step(solver):
    layers = pair(solver=solver)
    for layer in layers:
        layer(torch.randn(2, 16, 3, 4, dtype=torch.float64)).sum().backward()
    tracked = {int(layer.norm.num_batches_tracked) for layer in layers}
    assert tracked == {3 * {'euler': 1, 'midpoint': 2, 'heun': 2, 'rk4': 4}[solver]}


def test_mode_may_change_before_the_backward_pass():
    ours, reference = pair()
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)
    grads = []
    for layer in (ours, reference):
        loss = layer.eval()(x).square().sum()
        layer.train()
        grads.append(torch.autograd.grad(loss, list(layer.parameters())))
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)
    assert ours.norm.num_batches_tracked == 0


def test_a_norm_put_in_place_of_the_channel_norm_serves():
    """As conversions to synchronised batch norms do."""
    ours, reference = pair()
    ours.norm = torch.nn.BatchNorm1d(36).double()
    ours.norm.load_state_dict(reference.norm.state_dict())
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)
    for a, b in zip(step(ours, x), step(reference, x), strict=True):
        torch.testing.assert_close(a, b)


def saved_bytes(layer, x, autocast=False):
    sizes = {}

    def note(tensor):
        sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), \
            torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        layer(x)
    return sum(sizes.values())


@pytest.mark.parametrize('kwargs', [dict(norm='channel'), dict(norm='channel', autocast=True),
                                    dict(norm='position', autocast=True), dict(norm='position', solver='rk4')])
def test_memory_does_not_grow_with_the_number_of_steps(kwargs):
    kwargs = dict(kwargs)
    autocast = kwargs.pop('autocast', False)
    x = torch.randn(4, 144, 6, 6, requires_grad=True)
    few, many = ([saved_bytes(layer, x, autocast) for layer in pair(c_in=144, c_out=144, steps=steps,
                                                                    dtype=torch.float32, **kwargs)]
                 for steps in (3, 12))
    assert many[0] <= 1.15 * few[0]
    assert few[0] >= x.numel() * 4  # its input at least, or nothing was measured
    assert many[1] > 3 * few[1]  # the reference stores each step


@pytest.mark.parametrize('norm, solver, training', CASES)
def test_compiles_to_one_graph(norm, solver, training):
    ours, reference = pair(norm, solver, dtype=torch.float32)
    compiled = torch.compile(ours.train(training), backend='aot_eager', fullgraph=True)
    x = torch.randn(2, 16, 3, 4)
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = compiled(x_ours), reference.train(training)(x_theirs)
    y.square().sum().backward()
    expected.square().sum().backward()
    pairs = [(y, expected), (x_ours.grad, x_theirs.grad), *zip(ours.buffers(), reference.buffers()),
             *((a.grad, b.grad) for a, b in zip(ours.parameters(), reference.parameters()))]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def compiled_saved_bytes(layer, x):
    """What the compiled forward keeps for the compiled backward."""
    torch._dynamo.reset()
    y = torch.compile(layer, backend='aot_eager', fullgraph=True)(x)  # keeps the graph alive
    node = y.grad_fn
    while not hasattr(node, 'saved_tensors'):
        node = node.next_functions[0][0]
    return sum(tensor.numel() * tensor.element_size() for tensor in node.saved_tensors)


def test_memory_of_the_compiled_layer_does_not_grow_either():
    x = torch.randn(4, 144, 6, 6, requires_grad=True)
    few, many = ([compiled_saved_bytes(layer, x) for layer in pair(c_in=144, c_out=144, steps=steps,
                                                                   dtype=torch.float32)] for steps in (2, 6))
    assert many[0] <= 1.15 * few[0]
    assert many[1] > 2 * few[1]


def test_inside_another_checkpoint():
    ours, reference = pair()
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64, requires_grad=True)
    grads = [torch.autograd.grad(checkpoint(layer, x, use_reentrant=False).square().sum(), [x, *layer.parameters()])
             for layer in (ours, reference)]
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('backend', ['reference', 'operators'])
def test_differentiable_twice(backend):
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(4, 9, 2, norm='channel', backend=backend).double()
    layer.norm.bias.data.fill_(3)  # away from the corners of ReLU6
    layer.norm.weight.data.fill_(0.3)
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, matrices: layer(x), (x, layer.matrices))
