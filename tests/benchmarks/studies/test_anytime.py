"""The table of anytime checkpoints, from what a suite leaves."""
import json

import pytest

pytest.importorskip('onnxruntime', reason='the extra "deploy" is not installed')
pytest.importorskip('onnxscript', reason='the extra "deploy" is not installed')

from benchmarks.studies.anytime import markdown, measure  # noqa: E402
from mobileode_mm.errors import InputError  # noqa: E402


def run_of(backbone, folder, top1, status='done'):
    return dict(task='classification', backbone=backbone, folder=folder, status=status,
                metrics={'data_time': 0.1, 'accuracy/top1': top1})


def test_the_table():
    rows = [dict(task='detection', metric='coco/bbox_mAP', steps=1, anytime=[40., 42.], alone=[41.5],
                 torch=3.21, onnx=2.5),
            dict(task='detection', metric='coco/bbox_mAP', steps=2, anytime=[50.], alone=[], torch=4., onnx=3.)]
    lines = markdown(dict(rows=rows, machine='M', threads=2)).splitlines()
    assert lines[-1].startswith('Mean ± sample standard deviation over the seeds. M; 2 threads each')
    assert lines[2:-2] == [
        '| detection | coco/bbox_mAP | 1 | 41.0 ± 1.4 | 41.5 | -0.5 | 3.21 | 2.5 |',
        '| detection | coco/bbox_mAP | 2 | 50.0 | – | – | 4 | 3 |']


def test_a_folder_without_a_suite(tmp_path):
    with pytest.raises(InputError, match='first: mobileode suite anytime'):
        measure(tmp_path)
    (tmp_path / 'results.json').write_text(json.dumps(dict(runs=[run_of('V1 anytime', 'x', 1., 'failed')])))
    with pytest.raises(InputError, match='no run of V1 anytime that is done'):
        measure(tmp_path)


@pytest.mark.slow
def test_every_number_of_a_trained_network(suite_folder):
    first, second = measure(suite_folder(
        run_of('V1 anytime', 'runs/trained', 30.), run_of('V1, L = 1', 'runs/one', 20.)))
    assert (first['steps'], first['alone'], second['steps'], second['alone']) == (1, [20.], 2, [])
    assert all(row['metric'] == 'accuracy/top1' and 0 <= row['anytime'][0] <= 100 for row in (first, second))
    assert min(first['torch'], first['onnx'], second['torch'], second['onnx']) > 0
