"""The kernels compiled for aarch64 and run under an emulator: the released numbers, and those of x86-64."""
import ctypes
import platform
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mobileode_mm.checkpoints.released import rename_cvnets_entries
from mobileode_mm.ode import ChannelwiseODESolver
from mobileode_mm.ode.backends import cpu_kernels
from mobileode_mm.ode.backends.build import is_available, load_library
from mobileode_mm.ode.backends.compiler import FLAGS, LEVELS, SOURCES, run_all

COMPILER, EMULATOR = 'aarch64-linux-gnu-g++', 'qemu-aarch64'
FIXTURES = sorted((Path(__file__).parents[1] / 'fixtures').glob('cos_*.npz'))
ABSENT = [name for name in (COMPILER, EMULATOR) if shutil.which(name) is None]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(ABSENT), reason=f'{" and ".join(ABSENT)} not installed')]


@pytest.fixture(scope='module')
def emulated(tmp_path_factory):
    """Run calls, (kernel, numbers, tensors) each, for aarch64: a list of the tensors as each call leaves them."""
    folder = tmp_path_factory.mktemp('aarch64')
    sources = [*SOURCES.glob('*.cpp'), Path(__file__).with_name('harness.cpp')]
    objects = [folder / f'{source.stem}.o' for source in sources]
    command = [COMPILER, *FLAGS, *LEVELS['aarch64']['NEON']]
    until = time.monotonic() + 1800
    for source, out in zip(sources, objects):  # one after the other, for the memory's sake
        run_all([[*command, '-c', str(source), '-o', str(out)]], until)
    program = folder / 'harness'
    run_all([[*command, '-static', *map(str, objects), '-o', str(program)]], until)

    def run(calls):
        parts = [struct.pack('q', len(calls))]
        for kernel, call, tensors in calls:
            parts += [struct.pack('qq', len(kernel), ctypes.sizeof(call)), kernel.encode(), bytes(call),
                      struct.pack('q', len(tensors))]
            for tensor in tensors:
                data = b'' if tensor is None else tensor.numpy().tobytes()
                parts += [struct.pack('q', len(data)), data]
        (folder / 'in').write_bytes(b''.join(parts))
        subprocess.run([EMULATOR, str(program), str(folder / 'in'), str(folder / 'out')], check=True)
        left, results = (folder / 'out').read_bytes(), []
        for _, _, tensors in calls:
            assert struct.unpack_from('q', left) == (0, )
            left = left[8:]
            results.append([])
            for tensor in tensors:
                if tensor is None:
                    results[-1].append(None)
                    continue
                size = tensor.numel() * tensor.element_size()
                results[-1].append(torch.frombuffer(bytearray(left[:size]), dtype=tensor.dtype).view(tensor.shape))
                left = left[size:]
        assert not left
        return results

    return run


def numbers(x, p, q, steps, by_channel=False, threads=2, **others):
    """x is (B, H, W, p²)."""
    return cpu_kernels.Call(batch=len(x), positions=x.shape[1] * x.shape[2], p=p, q=q, steps=steps, threads=threads,
                            is_double=x.dtype == torch.float64, by_channel=by_channel, eps=1e-5, **others)


def rows(value):
    """(B, C, H, W) of a fixture as the kernels have it, (B, H, W, C)."""
    return torch.from_numpy(value).permute(0, 2, 3, 1).contiguous()


def relative(a, b):
    return ((a - b).abs().max() / b.abs().max().clamp(min=1e-12)).item()


@pytest.mark.parametrize('path', FIXTURES, ids=lambda path: path.stem)
def test_released_numbers(emulated, path):
    """With the tolerances of test_cos.py."""
    file = np.load(path)

    def entries(prefix):
        return rename_cvnets_entries({key[len(prefix):]: torch.from_numpy(file[key]) for key in file.files
                                      if key.startswith(prefix)})

    c_in, c_out = map(int, path.stem.split('_')[1].split('to'))
    state = entries('state/')
    layer = ChannelwiseODESolver(c_in, c_out, num_steps=len(state['delta_t']), grid_size=file['x'].shape[2])
    layer.load_state_dict(state, strict=True)
    x, y_eval, y_train = (rows(file[key]) for key in ('x', 'y_eval', 'y_train'))
    steps, p, q = len(layer.matrices), layer.side_in, layer.side
    with torch.no_grad():
        solver = [layer.matrices.detach(), layer.step_lengths(), layer.norm.weight.detach(), layer.norm.bias.detach()]
    fixed = [layer.norm.running_mean, layer.norm.running_var]
    moments = [torch.empty(steps, *layer.norm.weight.shape) for _ in range(2)]
    call = numbers(x, p, q, steps)
    # The probe of test_cos.py counts in the order of (B, C, H, W).
    batch, height, width, channels = y_train.shape
    probe = torch.linspace(-1, 1, y_train.numel()).view(batch, channels, height, width).permute(0, 2, 3, 1).contiguous()
    evaluated, trained = emulated([('cos_eval', call, [x, *solver, *fixed, torch.empty_like(y_eval)]),
                                   ('cos_train', call, [x, *solver, torch.empty_like(y_train), *moments])])
    assert (evaluated[-1] - y_eval).abs().max() < 1e-5
    assert (trained[5] - y_train).abs().max() < 1e-5

    call = numbers(x, p, q, steps, of_batch=True)
    results = emulated([('cos_train_backward', call, [probe, x, *solver, *trained[6:], torch.empty_like(x),
                                                      *map(torch.empty_like, solver)])])[0]
    assert relative(results[8], rows(file['grad_x'])) < 1e-4
    expected = entries('grad/')
    # Steps that the layer clamps get no gradient, which is the clamp's doing.
    free = (layer.delta_t.detach() == solver[1]).float()
    for name, found in {'matrices': results[9], 'delta_t': results[10] * free, 'norm.weight': results[11],
                        'norm.bias': results[12]}.items():
        assert relative(found, expected[name].reshape(found.shape)) < 1e-4, name


@pytest.mark.skipif(platform.machine() not in ('x86_64', 'AMD64') or not is_available(),
                    reason='there are no kernels of x86-64 to compare with')
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('by_channel', [False, True], ids=['position', 'channel'])
@pytest.mark.parametrize('p, q', [(3, 3), (5, 7), (12, 12), (24, 12), (9, 24), (33, 31), (72, 72)])
def test_the_numbers_of_x86(emulated, p, q, by_channel, dtype):
    torch.manual_seed(0)
    batch, height, width, steps = 2, 3, 2, 3
    values = (q * q, ) if by_channel else (height, width)

    def random(*shape):
        return torch.rand(shape, dtype=dtype)

    x, y_grad, y = random(batch, height, width, p * p), random(batch, height, width, q * q), \
        random(batch, height, width, q * q)
    solver = [0.1 * torch.randn(steps, q, q, dtype=dtype), random(steps)]
    norm, fixed, after = ([random(*shape) + 0.5, random(*shape) + 0.5] for shape in (values, values, (q * q, )))
    statistics = [random(steps, *values) + 0.5 for _ in range(2)]
    call = numbers(x, p, q, steps, by_channel)
    calls = [('cos_eval', call, [x, *solver, *norm, *fixed, y]),
             ('cos_deployed', call, [x, solver[0] + torch.eye(q, dtype=dtype), solver[1], *norm, *after, y_grad, y]),
             ('cos_deployed', call, [x, solver[0] + torch.eye(q, dtype=dtype), solver[1], *norm, None, None, None, y]),
             ('cos_train', call, [x, *solver, *norm, y, *(value.clone() for value in statistics)]),
             ('cos_train_backward', numbers(x, p, q, steps, by_channel, of_batch=True),
              [y_grad, x, *solver, *norm, *statistics, x.clone(), *(value.clone() for value in (*solver, *norm))])]
    found = emulated(calls)
    for (kernel, call, tensors), results in zip(calls, found):
        assert cpu_kernels.call_kernel(load_library(), kernel, call, tensors) == 0
        limit = 1e-4 if dtype == torch.float32 else 1e-10
        for ours, expected in zip(results, tensors):
            if expected is not None:
                assert relative(ours, expected) < limit, kernel
