"""Runs beside the published ones."""
import json

from benchmarks.suites import published


def run_of(seed, top1, backbone='V1', status='done'):
    return dict(task='colours', backbone=backbone, seed=seed, status=status,
                metrics=None if top1 is None else {'accuracy/top1': top1})


def test_lines_of_what_is_done_and_published(tmp_path, monkeypatch):
    monkeypatch.setattr(published, 'PUBLISHED', tmp_path)
    results = dict(suite='own', networks=[dict(task='colours', backbone='V1', metrics=[dict(name='accuracy/top1')])],
                   runs=[run_of(0, 92.5), run_of(1, 91.), run_of(2, None, status='not run yet')])
    assert published.beside_published(results) == []
    (tmp_path / 'own.json').write_text(json.dumps(dict(runs=[
        run_of(0, 92.25), run_of(1, None, status='failed'), run_of(2, 90.), run_of(0, 80., 'V2')])))
    assert published.beside_published(results) == [
        'Beside docs/results/own.json:',
        'colours, V1, seed 0: accuracy/top1 92.5, published 92.25 (+0.25)', '']
