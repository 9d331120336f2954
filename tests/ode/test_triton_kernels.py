"""The Triton kernels against the plain reference: on a GPU where there is one, and in Triton's interpreter on the CPU.

The interpreter has to be chosen before Triton is imported, so :func:`test_in_the_interpreter` runs this file in a
process of its own. What the interpreter does not do as a GPU does: it multiplies bfloat16 wrongly (the entry hands it
rounded float32), it cuts off where it rounds to bfloat16, it knows no race between threads, and it accepts code that
the compiler refuses, which is why tests/benchmarks/gpu_parts/test_compiled.py compiles every kernel (no GPU is needed
for it).
"""

import os
import subprocess
import sys

import pytest
import torch

from mobileode_mm.ode import ChannelwiseODESolver

triton = pytest.importorskip('triton')
from benchmarks.gpu_parts import parity  # noqa: E402 (it needs Triton)
from benchmarks.gpu_parts.parity import EPS, ERRORS, error, reference  # noqa: E402
from mobileode_mm.ode.backends import triton_blocks, triton_operators  # noqa: E402

DEVICE = 'cpu' if triton_operators.INTERPRETED else 'cuda'
needs_kernels = pytest.mark.skipif(not triton_operators.INTERPRETED and not torch.cuda.is_available(),
                                   reason='needs a GPU here (the interpreter is tested in a process of its own)')
in_the_outer_process = pytest.mark.skipif(triton_operators.INTERPRETED, reason='this is the process of the interpreter')
# (batch, side in, side out, height, width, steps): odd batches and maps, sides that are no power of two, L over SLOTS,
# more positions than the interpreter has programs. B·H·W of 5 or more: with two the channel norm is ill-conditioned.
SHAPES = [(1, 8, 8, 2, 3, 1), (1, 12, 12, 5, 1, 5), (5, 8, 12, 1, 1, 3), (3, 24, 12, 2, 1, 2), (7, 17, 17, 1, 1, 2)]
WIDE = [(1, 64, 64, 1, 5, 1), (1, 24, 48, 5, 1, 2)]


@in_the_outer_process
def test_in_the_interpreter():
    result = subprocess.run([sys.executable, '-m', 'pytest', '-q', __file__], capture_output=True, text=True,
                            env={**os.environ, 'TRITON_INTERPRET': '1'})
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]


@pytest.fixture
def poisoned():
    with parity.poisoned():
        yield


def make(shape, kind, dtype=torch.float32):
    # Not the seed 0: the gradient of a step length is one sum over every number of a call, and with that seed the
    # 20,480 terms of the widest shape, of about 1, cancel to 0.34: the order in which a processor adds them shows.
    return parity.make(shape, kind, dtype, DEVICE, seed=1)


def compare_training(shape, kind, dtype, layout=torch.contiguous_format):
    inputs = make(shape, kind, dtype)
    inputs[0] = inputs[0].detach().contiguous(memory_format=layout).requires_grad_()
    results, expected = parity.train(inputs, kind), parity.train_reference(inputs, kind)
    y, means = results['y'], results['means']
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert not means.requires_grad
    for name, ours in results.items():
        theirs = expected[name]
        assert ours.shape == theirs.shape, name
        assert error(ours, theirs) < ERRORS[dtype], (name, error(ours, theirs))


@needs_kernels
@pytest.mark.parametrize('kind', triton_operators.KINDS)
@pytest.mark.parametrize('shape', SHAPES + WIDE)
def test_training(shape, kind, poisoned):
    compare_training(shape, kind, torch.float32)


@needs_kernels
@pytest.mark.parametrize('kind', triton_operators.KINDS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('shape', SHAPES[2:4])
def test_training_in_half_precision(shape, dtype, kind, poisoned):
    compare_training(shape, kind, dtype, torch.channels_last)


@needs_kernels
@pytest.mark.parametrize('dtype', ERRORS)
@pytest.mark.parametrize('shape', SHAPES[1:3])
def test_training_streamed(shape, dtype, poisoned, monkeypatch):
    """The forward of batches that do not fit in one tile, in tiles of 16 rows."""
    monkeypatch.setattr(triton_blocks, 'RESIDENT_TILE', 0)
    for kernel in ('position_forward_streamed', 'position_backward'):
        monkeypatch.setitem(triton_blocks.TRIED, kernel, {'BLOCK': 16, 'num_warps': 4})
    compare_training(shape, 'position', dtype)


@needs_kernels
@pytest.mark.parametrize('kind', triton_operators.KINDS)
@pytest.mark.parametrize('dtype', ERRORS)
@pytest.mark.parametrize('shape', SHAPES)
def test_inference(shape, dtype, kind, poisoned):
    compare_inference(shape, kind, dtype)


def compare_inference(shape, kind, dtype):
    inputs = [tensor.detach() for tensor in make(shape, kind, dtype)]
    y, expected = parity.infer(inputs, kind)['y'], parity.infer_reference(inputs, kind)['y']
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert error(y, expected) < ERRORS[dtype]


@needs_kernels
@pytest.mark.parametrize('shape', WIDE)
def test_inference_of_wide_sides(shape, poisoned):
    compare_inference(shape, 'position', torch.float32)


@needs_kernels
def test_equals_the_layer():
    """The clamp, the resize and the norm folded by the caller give the layer itself."""
    torch.manual_seed(0)
    layer = ChannelwiseODESolver(64, 144, 2, grid_size=(2, 3)).to(DEVICE)
    x = torch.randn(3, 64, 2, 3, device=DEVICE)
    lengths = layer.delta_t.clamp(min=1 / 2)
    expected = layer.train()(x)
    y, means, variances = triton_operators.cos_train(x, layer.matrices, lengths, layer.norm.weight, layer.norm.bias,
                                               layer.norm.eps, 'position')
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    running = 0.1 * (0.9 * means[0] + means[1])
    torch.testing.assert_close(running, layer.norm.running_mean, rtol=1e-4, atol=1e-6)
    scale = layer.norm.weight * torch.rsqrt(layer.norm.running_var + layer.norm.eps)
    shift = layer.norm.bias - layer.norm.running_mean * scale
    with torch.no_grad():
        y = triton_operators.cos_infer(x, layer.matrices, lengths, scale, shift, 'position')
        torch.testing.assert_close(y, layer.eval()(x), rtol=1e-4, atol=1e-5)


@needs_kernels
@pytest.mark.parametrize('kind', triton_operators.KINDS)
def test_gradients_are_the_same_every_time(kind):
    inputs = make((2, 8, 12, 1, 3, 2), kind)
    runs = [torch.autograd.grad(triton_operators.cos_train(*inputs, EPS, kind)[0].square().sum(), inputs)
            for _ in range(2)]
    for first, second in zip(*runs):
        assert torch.equal(first, second)


@needs_kernels
def test_nan_is_not_hidden():
    x, matrices, *others = [tensor.detach() for tensor in make((2, 8, 8, 1, 1, 2), 'position')]
    matrices[0] = float('nan')
    assert triton_operators.cos_train(x, matrices, *others, EPS, 'position')[0].isnan().all()
    assert triton_operators.cos_infer(x, matrices, *others, 'position').isnan().all()


@needs_kernels
def test_twice_in_one_graph():
    """The same weights in two places: their gradients add up."""
    x, *parameters = make((2, 8, 8, 1, 2, 2), 'position')
    once = triton_operators.cos_train(x, *parameters, EPS, 'position')[0]
    ours = torch.autograd.grad(triton_operators.cos_train(once, *parameters, EPS, 'position')[0].square().sum(),
                               [x, *parameters])
    exact = [tensor.detach().double().requires_grad_() for tensor in (x, *parameters)]
    once = reference(exact, 'position', torch.float32)[0]
    twice = reference([once, *exact[1:]], 'position', torch.float32)[0]
    for a, b in zip(ours, torch.autograd.grad(twice.square().sum(), exact)):
        assert error(a, b) < ERRORS[torch.float32]


@needs_kernels
@pytest.mark.parametrize('kind', triton_operators.KINDS)
def test_is_one_operator_for_the_compiler(kind):
    inputs = make((2, 8, 12, 1, 2, 1), kind)
    compiled = torch.compile(lambda *inputs: triton_operators.cos_train(*inputs, EPS, kind)[0] * 2, backend='aot_eager',
                             fullgraph=True)
    y, expected = compiled(*inputs), triton_operators.cos_train(*inputs, EPS, kind)[0] * 2
    assert torch.equal(y, expected)
    for a, b in zip(torch.autograd.grad(y.sum(), inputs), torch.autograd.grad(expected.sum(), inputs)):
        assert torch.equal(a, b)
    infer = torch.compile(lambda *inputs: triton_operators.cos_infer(*inputs, kind) * 2, backend='aot_eager',
                          fullgraph=True)
    with torch.no_grad():
        assert torch.equal(infer(*inputs), triton_operators.cos_infer(*inputs, kind) * 2)


def test_what_it_cannot_serve():
    x, *others = [torch.randn(2, 64, 1, 2), torch.randn(2, 8, 8), torch.ones(2), torch.ones(1, 2), torch.ones(1, 2)]
    with pytest.raises(ValueError, match='x is torch.float64'):
        triton_operators.cos_infer(x.double(), *others, 'position')
    with pytest.raises(ValueError, match="kind='layer' is unknown"):
        triton_operators.cos_infer(x, *others, 'layer')
    if not triton_operators.INTERPRETED:
        with pytest.raises(ValueError, match='needs a GPU'):
            triton_operators.cos_infer(x, *others, 'position')
        return
    with pytest.raises(ValueError, match=r'weight is \(1, 2\), must be \(64,\)'):
        triton_operators.cos_train(x, *others, EPS, 'channel')
    with pytest.raises(ValueError, match='up to 4096 channels'):
        triton_operators.cos_infer(torch.randn(1, 65 ** 2, 1, 2), *others, 'position')


@in_the_outer_process
def test_ode_does_not_import_triton():
    code = ("import sys; sys.modules['triton'] = None\n"
            'import mobileode_mm.ode\n'
            'try:\n    import mobileode_mm.ode.backends.triton_operators\n'
            'except ImportError as error:\n    print(error)')
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("the COS backend 'triton' needs Triton, which is not installed: pip install triton")
