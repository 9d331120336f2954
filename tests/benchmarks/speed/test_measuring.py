"""Samples, ratios, differences and memory, from given numbers."""

import pytest
import torch

from benchmarks.speed.agreement import worst_difference
from benchmarks.speed.allocations import peak_bytes, saved_bytes
from benchmarks.speed.report import add_ratios, mean_ratios
from benchmarks.speed.sampling import quartiles, round_ratios, sample_in_turn

CPU = torch.device('cpu')


def test_variants_are_measured_in_turn_and_each_round_starts_with_another():
    calls = []
    samples = sample_in_turn({name: lambda name=name: calls.append(name) for name in 'abc'}, rounds=3, seconds=0)
    assert {name: len(taken) for name, taken in samples.items()} == dict(a=3, b=3, c=3)
    assert all(sample >= 0 for taken in samples.values() for sample in taken)
    # two calls each to find the number of calls, then one that is not counted and one that is
    assert ''.join(calls) == 'aabbcc' + 'aabbcc' + 'bbccaa' + 'ccaabb'


def test_statistics():
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == (2.0, 3.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0, 7.0)
    assert round_ratios([1.0, 4.0], [2.0, 2.0]) == [0.5, 2.0]
    with pytest.raises(ValueError):
        round_ratios([1.0], [1.0, 2.0])


def variant(label, samples):
    return dict(label=label, samples_ms=samples)


def test_ratios_are_taken_round_by_round():
    """The machine is ten times slower in the last two rounds; the ratio does not move."""
    one = dict(variants=[variant('a/eager', [1.0, 1.0, 10.0, 10.0]), variant('b/eager', [2.0, 2.0, 20.0, 20.0]),
                      variant('b/compiled', [4.0, 4.0, 40.0, 40.0]), variant('broken/eager', [])])
    two = dict(variants=[variant('a/eager', [8.0]), variant('b/eager', [4.0])])
    for case in (one, two):
        add_ratios(case, ['b'])
    assert one['variants'][0]['ratios'] == {'b/eager': dict(median=0.5, quartiles=[0.5, 0.5]),
                                         'b/compiled': dict(median=0.25, quartiles=[0.25, 0.25])}
    assert one['variants'][0]['median_ms'] == 5.5 and 'ratios' not in one['variants'][3]
    means = mean_ratios([one, two])
    assert means['a/eager'] == {'b/eager': pytest.approx(1.0)}  # of 0.5 and 2; b/compiled is not in both


@pytest.mark.parametrize('spoil, name', [
    (lambda found: found['output 0'].mul_(1.001), 'output 0'),
    (lambda found: found['output 1'].view(-1)[0].fill_(float('nan')), 'output 1'),
    (lambda found: found.pop('gradient w'), 'gradient w'),
    (lambda found: found.update({'gradient v': torch.ones(1)}), 'gradient v'),
    (lambda found: found.update({'output 0': torch.ones(3)}), 'output 0'),
])
def test_a_difference_is_found(spoil, name):
    torch.manual_seed(0)
    expected = {name: torch.randn(4, 5) for name in ('output 0', 'output 1', 'gradient w')}
    found = {name: value.clone().flatten() for name, value in expected.items()}
    assert worst_difference(found, expected)[0] == 0
    spoil(found)
    difference, where = worst_difference(found, expected)
    assert difference > 9e-4 and where == name


def test_a_vanishing_gradient_is_measured_by_its_kind():
    expected = {'gradient a': torch.ones(4), 'gradient b': torch.ones(4), 'gradient c': torch.zeros(4)}
    found = expected | {'gradient c': torch.full((4, ), 1e-6)}
    assert worst_difference(found, expected)[0] == pytest.approx(1e-5)


def test_saved_bytes_counts_each_storage_once_and_no_parameter():
    weight = torch.ones(8, requires_grad=True)
    x = torch.ones(4, 8, requires_grad=True)

    def step():
        y = x * weight  # keeps x and weight
        (y[:2] * y[2:]).sum().backward()  # keeps two views of y

    assert saved_bytes(step, [weight]) == x.nbytes + 4 * 8 * 4
    assert saved_bytes(step) == x.nbytes + 4 * 8 * 4 + weight.nbytes


def test_peak_bytes_of_the_cpu():
    def step():
        first = torch.empty(1 << 16, dtype=torch.uint8)
        del first
        kept = [torch.empty(1 << 18, dtype=torch.uint8) for _ in range(2)]
        return len(kept)

    assert peak_bytes(step, CPU) == 2 << 18
