"""Memory over the number of steps: what is recomputed does not grow with it, what is stored does."""

from benchmarks.speed import long_solvers


def test_rows(monkeypatch):
    monkeypatch.setattr(long_solvers, 'SIDE', 8)
    few, many = (long_solvers.measure(steps, batch=2, rounds=1) for steps in (2, 8))
    assert [row[:2] for row in few] == [['2', name] for name in long_solvers.BACKENDS]
    saved = {row[1]: (float(row[4]), float(other[4])) for row, other in zip(few, many)}
    assert saved['reference'][1] > 3 * saved['reference'][0] > 0
    assert saved['operators'] == (0, 0)
    # Mean and variance of each step and position alone.
    assert saved['cpu'][1] < 0.02 * saved['reference'][1]
    assert all(float(row[6]) < 1e-4 for row in few)
