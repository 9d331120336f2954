"""The solver layer with ``backend='triton'`` against ``backend='reference'``, in Triton's interpreter or on a GPU.

As in test_cos_triton.py, the interpreter has to be chosen before Triton is imported, so this file runs itself in a
process of its own.
"""

import copy
import os
import subprocess
import sys

import pytest
import torch

from mobileode_mm.ode import ChannelwiseODESolver

pytest.importorskip('triton')
from mobileode_mm.ode.backends import triton_operators  # noqa: E402 (it needs Triton)

DEVICE = 'cpu' if triton_operators.INTERPRETED else 'cuda'
needs_kernels = pytest.mark.skipif(not triton_operators.INTERPRETED and not torch.cuda.is_available(),
                                   reason='needs a GPU here (the interpreter is tested in a process of its own)')
in_the_outer_process = pytest.mark.skipif(triton_operators.INTERPRETED, reason='this is the process of the interpreter')
NORMS = 'position', 'channel'
# (batch, channels in, channels out, height, width, steps): odd maps, widths that are no power of two, L over 4
SHAPES = [(1, 64, 64, 2, 3, 1), (3, 144, 64, 1, 2, 2), (5, 81, 144, 1, 1, 2), (5, 9, 16, 1, 1, 5)]
SMALL = (5, 9, 16, 1, 2, 2)


@in_the_outer_process
def test_in_the_interpreter():
    result = subprocess.run([sys.executable, '-m', 'pytest', '-q', __file__], capture_output=True, text=True,
                            env={**os.environ, 'TRITON_INTERPRET': '1'})
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]


def pair(shape, norm, grid=None, **kwargs):
    """A layer of each backend with the same weights and statistics, and an input."""
    batch, c_in, c_out, height, width, steps = shape
    torch.manual_seed(0)
    ours = ChannelwiseODESolver(c_in, c_out, steps, grid or (height, width), norm, backend='triton', **kwargs)
    torch.nn.init.normal_(ours.norm.weight, 1, 0.2)
    torch.nn.init.normal_(ours.norm.bias, 0.5, 0.2)
    torch.nn.init.normal_(ours.norm.running_mean, 0, 0.2)
    torch.nn.init.uniform_(ours.norm.running_var, 0.5, 2)
    reference = copy.deepcopy(ours)
    reference.backend = 'reference'
    return ours.to(DEVICE), reference.to(DEVICE), torch.randn(batch, c_in, height, width, device=DEVICE)


def step(layer, x):
    """Output, gradients, running statistics."""
    x = x.clone().requires_grad_()
    y = layer(x)
    weight = torch.linspace(-1, 1, y.numel(), device=y.device).view(y.shape)
    grads = torch.autograd.grad((y * weight).sum(), [x, *layer.parameters()])
    assert layer.norm.num_batches_tracked == (layer.num_steps if layer.norm.training else 0)
    return [y, *grads, layer.norm.running_mean, layer.norm.running_var]


def assert_near(ours, reference, error=2e-4):
    """Worst difference relative to the largest number; both sides are float32."""
    for index, (a, b) in enumerate(zip(ours, reference, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert (a - b).abs().max() <= error * b.abs().max(), (index, (a - b).abs().max() / b.abs().max())


@needs_kernels
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('shape', SHAPES)
def test_training(shape, norm, called):
    ours, reference, x = pair(shape, norm)
    assert_near(step(ours, x), step(reference, x))
    assert called == ['triton_cos_train', 'triton_cos_train_backward']


@needs_kernels
def test_training_at_another_size_than_the_grids(called):
    ours, reference, x = pair(SHAPES[1], 'position', grid=(2, 4))
    assert_near(step(ours, x), step(reference, x))
    assert called == ['triton_cos_train', 'triton_cos_train_backward']


@needs_kernels
@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('shape', SHAPES)
def test_inference(shape, norm, called):
    ours, reference, x = pair(shape, norm)
    with torch.no_grad():
        assert_near([ours.eval()(x)], [reference.eval()(x)])
        ours.matrices.mul_(1.5)
        reference.load_state_dict(ours.state_dict())
        assert_near([ours(x)], [reference(x)])  # nothing of the weights before is kept
    assert called == ['triton_cos_infer'] * 2


@needs_kernels
@pytest.mark.parametrize('norm', NORMS)
def test_norm_eval_and_frozen(norm, called):
    ours, reference, x = pair(SMALL, norm)
    for layer in (ours, reference):
        layer.train().norm.eval()
    assert_near(step(ours, x), step(reference, x))
    assert called == []  # fixed statistics with gradients: the operators
    ours.requires_grad_(False)
    assert_near([ours(x)], [reference(x)])
    assert called == ['triton_cos_infer']


@needs_kernels
def test_frozen_weights_in_training(called):
    """Gradients of the input alone."""
    ours, reference, x = pair(SMALL, 'position')
    grads = []
    for layer in (ours, reference):
        layer.requires_grad_(False)
        leaf = x.clone().requires_grad_()
        grads += torch.autograd.grad(layer(leaf).square().sum(), leaf)
    assert_near(grads[:1], grads[1:])
    assert called == ['triton_cos_train', 'triton_cos_train_backward']


@needs_kernels
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('norm', NORMS)
def test_autocast(norm, dtype, called, monkeypatch):
    seen = []
    entry = triton_operators.cos_train
    monkeypatch.setattr(triton_operators, 'cos_train', lambda x, *args: (seen.append(x.dtype), entry(x, *args))[1])
    ours, reference, x = pair(SMALL, norm)
    with torch.autocast(DEVICE, dtype=dtype):
        results = step(ours, x)
    assert called == ['triton_cos_train', 'triton_cos_train_backward'] and seen == [dtype]
    assert_near(results, step(reference, x), 0.06 if dtype == torch.bfloat16 else 0.01)


@needs_kernels
def test_compiles_to_one_graph():
    ours, reference, x = pair(SMALL, 'position')
    compiled = torch.compile(ours, backend='aot_eager', fullgraph=True)
    expected = reference(x)
    assert_near([compiled(x), ours.norm.running_mean], [expected, reference.norm.running_mean])


@needs_kernels
@pytest.mark.parametrize('kwargs', [dict(solver='heun'), dict(resize_mode='bicubic'), dict(expand_gain=0.5)])
def test_what_the_kernels_do_not_serve_goes_through_the_operators(kwargs, called):
    shape = (2, 64, 144, 1, 3, 2)
    ours, reference, x = pair(shape, 'channel', **kwargs)
    assert torch.allclose(ours(x), reference(x), rtol=1e-5, atol=1e-5)
    ours, reference, x = pair(shape, 'channel')
    assert torch.allclose(ours.double()(x.double()), reference.double()(x.double()))
    ours, reference, x = pair((1, 65 ** 2, 65 ** 2, 1, 2, 1), 'position')
    assert torch.allclose(ours(x), reference(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert ours.eval()(x[:0]).shape == x[:0].shape
    assert called == []
    ours, _, x = pair((1, 64, 64, 1, 1, 2), 'channel')
    with pytest.raises(ValueError, match='more than 1 value'):
        ours(x)


@in_the_outer_process
def test_on_a_cpu_without_the_interpreter_the_operators_serve(called):
    ours = ChannelwiseODESolver(64, 64, 2, 3, backend='triton')
    assert ours(torch.randn(2, 64, 3, 3)).isfinite().all()
    assert called == []


@in_the_outer_process
def test_missing_triton_is_said_when_the_layer_is_made():
    code = ("import sys; sys.modules['triton'] = None\n"
            'from mobileode_mm.ode import ChannelwiseODESolver\n'
            'ChannelwiseODESolver(64, 64)\n'
            "try:\n    ChannelwiseODESolver(64, 64, backend='triton')\n"
            'except ImportError as error:\n    print(error)')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("the COS backend 'triton' needs Triton, which is not installed: pip install triton")


@in_the_outer_process
def test_triton_is_imported_only_when_asked_for():
    code = ("import sys\n"
            'from mobileode_mm.ode import ChannelwiseODESolver\n'
            'import torch\n'
            'ChannelwiseODESolver(64, 64)(torch.randn(2, 64, 8, 8))\n'
            "print('mobileode_mm.ode.backends.triton' in sys.modules)\n"
            "ChannelwiseODESolver(64, 64, backend='triton')\n"
            "print('mobileode_mm.ode.backends.triton' in sys.modules)")
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ['False', 'True']
