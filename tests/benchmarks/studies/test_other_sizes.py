"""Classifiers on images of other sizes."""
import pytest

from benchmarks.studies.other_sizes import markdown, measure
from mobileode_mm.errors import InputError


def test_the_table():
    runs = [dict(backbone='V1', seed=0, top1=[50., 90.]), dict(backbone='V1', seed=1, top1=[60., 91.]),
            dict(backbone='V2', seed=0, top1=[1., 2.])]
    lines = markdown(dict(sides=[48, 64], runs=runs, commit='abc', machine='M')).splitlines()
    assert lines == [
        '| top-1, % | 48 px | 64 px |', '| --- | --- | --- |', '| V1 | 55.0 (50.0, 60.0) | 90.5 (90.0, 91.0) |',
        '| V2 | 1.0 (1.0) | 2.0 (2.0) |', '', 'Mean, and each seed. Commit abc; M.']


def test_a_folder_without_classifiers(tmp_path):
    with pytest.raises(InputError, match='first: mobileode suite transfer'):
        measure(tmp_path)
    (tmp_path / 'results.json').write_text('{"runs": []}')
    with pytest.raises(InputError, match='no run of classification that is done'):
        measure(tmp_path)


@pytest.mark.slow
def test_at_the_size_of_the_training_it_is_the_metric_of_the_test(suite_folder):
    from mobileode_mm.apis import test
    folder = suite_folder(dict(task='classification', backbone='V1', seed=0, status='done', folder='runs/trained'))
    whole = test('any.py', 'any.py.pth', folder / 'test')['accuracy/top1']
    (run, ) = measure(folder, (32, 48))
    assert run['top1'][0] == pytest.approx(whole) and 0 <= run['top1'][1] <= 100
