"""The table of runtimes, and what it is made of."""
import json
import sys

import pytest

from benchmarks import runtimes
from mobileode_mm.data.mini import make_mini_data


def test_every_task_has_networks():
    configs = [runtimes.config_of(task, backbone) for task in runtimes.TASKS for backbone in runtimes.BACKBONES]
    assert all(config.is_file() for config in configs)


def test_what_is_refused_stands_below_the_table():
    found = dict(onnx=dict(classify_mobileode_mini=dict(difference=2e-6, bytes=1)),
                 ncnn=dict(classify_mobileode_mini=dict(refused='no such layer')))
    text = runtimes.as_markdown(dict(machine=['a machine', 'torch 2'], found=found))
    assert '- a machine, torch 2\n' in text
    assert '| classifier | classify_mobileode_mini | 2e-06 | refused |' in text
    assert text.endswith('- classify_mobileode_mini as ncnn: no such layer\n')
    assert text.count('classify_') == 2, 'nothing is said of what was not tried'


@pytest.mark.slow
def test_results_are_added_to_and_written_into_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MOBILEODE_DATA', str(tmp_path / 'data'))
    make_mini_data(tmp_path / 'data/mini', detection=(1, 1), segmentation=(1, 1), classification=(10, 10))
    results, page = tmp_path / 'results.json', tmp_path / 'page.md'
    page.write_text('<!-- runtimes: begin -->\n<!-- runtimes: end -->\n')
    results.write_text(json.dumps(dict(machine=['a fact'], found=dict(onnx={}))))
    monkeypatch.setattr(sys, 'argv', ['runtimes', '--results', str(results), '--page', str(page), '--tasks', 'classify',
                                      '--backbones', 'mobileode', '--formats', 'torchscript'])
    assert runtimes.main() == 0, capsys.readouterr().err
    kept = json.loads(results.read_text())
    assert kept['found']['torchscript']['classify_mobileode_mini']['difference'] < 1e-4
    assert kept['machine'][0] == 'a fact' and '| onnx | torchscript |' in page.read_text()
