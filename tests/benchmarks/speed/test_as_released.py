"""The yardstick "as released" against the released program's own numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speed.as_released import AsReleasedSolver, as_released
from mobileode_mm import MobileODEV1
from mobileode_mm.checkpoints.released import rename_cvnets_entries
from mobileode_mm.errors import InputError
from mobileode_mm.ode import ChannelwiseODESolver, cos_naive

FILES = sorted((Path(__file__).parents[2] / 'fixtures').glob('cos_*.npz'))


def entries(file, prefix):
    """Fixture entries below ``prefix``, under our names, flat: the yardstick's grids are flat, a matrix stays so."""
    raw = {key[len(prefix):]: torch.from_numpy(file[key]) for key in file.files if key.startswith(prefix)}
    return rename_cvnets_entries(raw)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_released_numbers(path):
    file = np.load(path)
    channels = map(int, path.stem.split('_')[1].split('to'))
    state = entries(file, 'state/')
    solver = AsReleasedSolver(*channels, len(state['delta_t']), file['x'].shape[2:])
    solver.load_state_dict({name: value.reshape(solver.state_dict()[name].shape) for name, value in state.items()})
    x = torch.from_numpy(file['x']).requires_grad_()
    torch.testing.assert_close(solver.eval()(x), torch.from_numpy(file['y_eval']), atol=1e-5, rtol=1e-4)
    y = solver.train()(x)
    torch.testing.assert_close(y, torch.from_numpy(file['y_train']), atol=1e-5, rtol=1e-4)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    found = {'': x.grad} | {name: value.grad for name, value in solver.named_parameters()}
    expected = {'': torch.from_numpy(file['grad_x'])} | entries(file, 'grad/')
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        value = value.reshape(found[name].shape)
        assert (found[name] - value).abs().max() <= 1e-4 * value.abs().max(), name
    for name, value in entries(file, 'after_train/').items():
        if 'running' in name:
            torch.testing.assert_close(solver.get_buffer(name), value.flatten(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('channels', [(9, 9), (16, 4), (4, 9)])
def test_gradients_equal_the_plain_reference(batch, channels):
    torch.manual_seed(0)
    solver = ChannelwiseODESolver(*channels, 3, (4, 5)).double()
    released = AsReleasedSolver.of(solver)
    x = torch.randn(batch, channels[0], 4, 5, dtype=torch.float64)
    weight = torch.randn(batch, channels[1], 4, 5, dtype=torch.float64)

    def norm(y):
        mean, var = y.mean((0, 3), keepdim=True), y.var((0, 3), unbiased=False, keepdim=True)
        return (y - mean) / torch.sqrt(var + 1e-5)

    found, expected = (torch.autograd.grad((y * weight).sum(), parameters) for y, parameters in (
        (released(x), (released.matrices, released.delta_t)),
        (cos_naive(x, solver.matrices, solver.delta_t, norm), (solver.matrices, solver.delta_t))))
    torch.testing.assert_close(found, expected)


def test_every_solver_of_a_network_is_replaced():
    network = as_released(MobileODEV1(widen_factor=0.25, input_size=32))
    assert not any(isinstance(module, ChannelwiseODESolver) for module in network.modules())
    assert sum(isinstance(module, AsReleasedSolver) for module in network.modules()) == 8


@pytest.mark.parametrize('arguments', [dict(norm='channel'), dict(solver='rk4'),
                                       dict(out_channels=16, expand_gain=0.5)])
def test_what_was_not_released_is_refused(arguments):
    with pytest.raises(InputError, match='position norm and Euler'):
        as_released(ChannelwiseODESolver(9, **{'out_channels': 9, **arguments}))
