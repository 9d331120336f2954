"""The comparison of libraries of kernels, on tiny layers."""
import pytest

from benchmarks.speed import prebuilt
from mobileode_mm.ode.backends import build


@pytest.mark.skipif(not build.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('mode', ['infer', 'train'])
def test_measures_each_library_over_native(monkeypatch, mode):
    monkeypatch.setattr(prebuilt, 'LAYER_SHAPES', ('9-16-3', '25-9-2'))
    library = build.load_library()
    rows = prebuilt.measure(mode, {'native': library, 'AVX2': library}, rounds=2)
    assert [row[0] for row in rows] == [f'{mode} 9-16-3', f'{mode} 25-9-2', f'**{mode}, geometric mean**']
    for *_, ratio in rows:
        assert float(ratio) > 0
