"""The claims of the paper against figures worked out by hand."""
import pytest

from benchmarks.complexity.claims import claims, mobilenet_v1_pointwise, nearest_totals, steps_for
from mobileode_mm import cli


def main(arguments):
    return cli.main(['claims', *arguments])


# Solvers of V1 and V2 as (C_in, C_out), and 1×1 convolutions, from the table of stages.
V1_SOLVERS = [(144, 144), (256, 256), *[(576, 576)] * 6]
V2_SOLVERS = [pair for c in (144, 256, *[576] * 5, 1024) for pair in ((c, 4 * c), (4 * c, c))]
SOLVERS = {'V1': V1_SOLVERS, 'V2': V2_SOLVERS}
POINTWISE = {'V1': 32 * 64 + 64 * 144 + 144 * 256 + 256 * 576 + 576 * 576,
             'V2': 32 * 64 + 64 * 144 + 144 * 256 + 256 * 576 + 576 * 1024}


@pytest.fixture(scope='module')
def found():
    return {(claim.claim[:2], claim.definition): claim for claim in claims()}


def solver_parameters(version, steps=3):
    return sum(steps * (c_out + 1) for _, c_out in SOLVERS[version])


@pytest.mark.parametrize('version, claimed', [('V1', 71.0), ('V2', 69.2)])
def test_channel_interaction(version, claimed, found):
    assert mobilenet_v1_pointwise() == 3_139_584
    ours = found[version, f'{version}, L = 3: 1×1 convolutions, K and Δt']
    mixing = POINTWISE[version] + solver_parameters(version)
    assert ours.ours == pytest.approx(100 * (1 - mixing / 3_139_584))
    assert ours.claimed == claimed and ours.holds
    steps = steps_for(version)
    assert POINTWISE[version] + solver_parameters(version, steps) == pytest.approx(3_139_584 * (1 - claimed / 100))


@pytest.mark.parametrize('version', ['V1', 'V2'])
def test_solver_against_pointwise(version, found):
    replaced = sum(c_in * c_out for c_in, c_out in SOLVERS[version])
    together = found['CO', f'{version}, L = 3: K and Δt, all solvers together']
    assert together.ours == pytest.approx(100 * (1 - solver_parameters(version) / replaced)) and together.holds
    # The norms at 256 px: grids of 64, 32, 16 and 8, one a solver.
    norms = 2 * (64 ** 2 + 32 ** 2 + 5 * 16 ** 2 + 8 ** 2) * (2 if version == 'V2' else 1)
    with_norm = found['CO', f'{version}, L = 3, 256 px: K, Δt and position norm, all solvers together']
    assert with_norm.ours == pytest.approx(100 * (1 - (solver_parameters(version) + norms) / replaced))


def test_where_the_claim_does_not_hold(found):
    narrow = found['CO', 'V1, L = 3: K and Δt, solver 144 to 144, the least saved']
    assert narrow.ours == pytest.approx(100 * (1 - 3 * 145 / 144 ** 2)) and not narrow.holds
    worst = found['CO', 'V1, L = 3, 256 px: K, Δt and position norm, solver 144 to 144, the least saved']
    assert worst.ours == pytest.approx(100 * (1 - (3 * 145 + 2 * 64 ** 2) / 144 ** 2)) and not worst.holds
    # As the report says, the very figure of the paper comes out nowhere.
    assert all(round(claim.ours, 2) != 98.36 for claim in found.values())


def test_quoted_totals():
    # The released V1 has 614,034 parameters with 10 classes at 32 px, 611,610 at 64 px, 1,185,264 with 1000 at 32 px.
    totals = {**dict(nearest_totals('V1', (10, 1000), 100)), **dict(nearest_totals('V1', (200, ), 100))}
    assert totals['width 1, L = 3, 32 px, 10 classes'] == 614_034
    assert totals['width 1, L = 3, 64 px, 10 classes'] == 611_610
    assert totals['width 1, L = 3, 32 px, 1000 classes'] == 1_185_264
    assert totals['width 1, L = 3, 32 px, 200 classes'] == 614_034 + 190 * 577
    distances = [abs(total - 970_000) for _, total in nearest_totals('V1', (10, 200), 100)]
    assert distances == sorted(distances)


def test_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert 'does not hold' in out and '3,139,584' in out and '98.36 % (67 against 4,096)' in out
