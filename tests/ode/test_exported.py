"""The solver's form for files: the deployed solver's values, whatever the steps, the norm, the size and the layout."""
import math

import pytest
import torch
from torch import nn

from benchmarks.speed.workloads import calibrate_norms
from mobileode_mm.ode import SOLVERS, ChannelwiseODESolver, DeployedODESolver, ExportedODESolver, exported

SIZE = (5, 4)


def deployed(widths=(16, 16), size=SIZE, after=True, step_lengths=None, **options):
    torch.manual_seed(0)
    cos = ChannelwiseODESolver(*widths, grid_size=SIZE, **options).double()
    if step_lengths:
        cos.delta_t.data[:] = torch.tensor(step_lengths)
    calibrate_norms(cos, lambda: cos(torch.randn(4, widths[0], *SIZE, dtype=torch.float64)))
    norm = nn.BatchNorm2d(widths[1]).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.running_mean)
    return DeployedODESolver(cos.eval(), size, norm.eval() if after else None)


def assert_same(solver, residual, **options):
    x = torch.randn(2, solver.in_channels, *SIZE, dtype=torch.float64)
    after = torch.randn(2, solver.out_channels, *SIZE, dtype=torch.float64) if residual else None
    expected = solver(x, after)
    torch.testing.assert_close(ExportedODESolver(solver, **options)(x, after), expected, rtol=0,
                               atol=1e-12 * float(expected.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize('solver', SOLVERS)
@pytest.mark.parametrize('norm, size, matrices', [
    ('channel', None, False), ('channel', SIZE, False), ('channel', None, True), ('position', None, False),
    ('position', SIZE, True), ('position', SIZE, False)])
@pytest.mark.parametrize('widths', [(16, 16), (9, 36), (36, 9)])
def test_every_form_keeps_the_values(widths, norm, size, matrices, solver):
    built = deployed(widths, size, norm=norm, solver=solver, num_steps=2)
    options = dict(matrices_up_to=math.inf if matrices else 0)
    assert ExportedODESolver(built, **options).by_matrices == matrices
    assert ExportedODESolver(built).by_matrices == (norm == 'position' and size is not None), 'of small maps'
    assert_same(built, residual=True, **options)


@torch.no_grad()
@pytest.mark.parametrize('norm, options', [('channel', {}), ('position', {}), ('position', dict(matrices_up_to=0))])
def test_a_gain_is_one_factor_of_the_resized_map(norm, options):
    built = deployed((9, 36), norm=norm, num_steps=2, expand_gain=0.5)
    assert built.gain.std() > 0.1 and not exported.KernelODESolver.serves(built)
    assert_same(built, residual=True, **options)


@torch.no_grad()
@pytest.mark.parametrize('norm', ['channel', 'position'])
@pytest.mark.parametrize('step_lengths', [[1.], [0.7], [1.3], [0.9999], [0.5, 1., 0.6], [0.4, 0.4, 1.2], [0.999] * 6])
def test_steps_of_any_length(step_lengths, norm):
    built = deployed(num_steps=len(step_lengths), step_lengths=step_lengths, norm=norm, after=False)
    assert_same(built, residual=False)


def test_only_steps_that_leave_something_are_telescoped():
    steps, scale = exported.telescoped([0.5, 0.75, 1.])
    assert [step.keep for step in steps] == [1, 1, 0] and scale == 1
    steps, scale = exported.telescoped([1., 0.5])
    assert [step.keep for step in steps] == [0, 1] and scale == 0.5
