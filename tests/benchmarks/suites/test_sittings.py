"""Runs of other sittings, of other machines, are taken from their results."""
import json
import shutil

import pytest

from benchmarks.suites.execution import run_suite
from mobileode_mm.errors import InputError

# Each starts processes of its own.
pytestmark = pytest.mark.slow

SUITE = """
tasks = dict(
    colours=dict(configs='tiny_{}.py', input_size=(32, 32), metrics=['accuracy/top1']),
    again=dict(starts_from='colours', configs='tiny_{}.py', input_size=(32, 32), metrics=['accuracy/top1']))
backbones = {'good': dict(config='v1')}
seeds = [0, 1]
"""


@pytest.fixture(scope='module')
def sitting(tmp_path_factory, run, make_place):
    """A folder where the runs of the first seed have been run."""
    folder = make_place(tmp_path_factory.mktemp('sitting'))
    (folder / 'suite.py').write_text(SUITE)
    status, out, err = run(folder, 'suite.py', '--only', '*/seed_0')
    assert status == 0, err
    assert 'measuring latency' in out, 'every network is among them'
    return folder


@pytest.fixture
def other(sitting, tmp_path, monkeypatch):
    """The same on another machine, with the results of the first seed and nothing else of its runs."""
    place = tmp_path / 'other'
    shutil.copytree(sitting, place, ignore=shutil.ignore_patterns('work_dirs'))
    shutil.copy(sitting / 'work_dirs/suites/suite/results.json', place / 'earlier.json')
    monkeypatch.chdir(place)
    return place


def results(folder):
    return json.loads((folder / 'work_dirs/suites/suite/results.json').read_text())


def entries(content):
    return {(run['task'], run['seed']): run for run in content['runs']}


def test_another_sitting_runs_the_others_alone(other, run):
    earlier = entries(json.loads((other / 'earlier.json').read_text()))
    assert [run['status'] for run in earlier.values()] == ['done', 'done', 'not run yet', 'not run yet']
    status, out, err = run(other, 'suite.py', '--earlier', 'earlier.json')
    assert status == 0, err
    assert 'seed 0 (log' not in out and 'colours, good, seed 1 (log' in out and 'again, good, seed 1 (log' in out
    whole = entries(results(other))
    for seed in (0, 1):
        for task in ('colours', 'again'):
            assert whole[task, seed]['status'] == 'done' and 'resampled' in whole[task, seed]
    assert all(whole[task, 0] == earlier[task, 0] for task in ('colours', 'again'))
    network, _ = results(other)['networks']
    assert network['metrics'][0]['runs'] == 2 and network['metrics'][0]['interval']['images'], 'draws of both sittings'
    assert '--earlier earlier.json' in results(other)['command']


def test_weights_to_start_from_are_trained_again(other, run):
    content = json.loads((other / 'earlier.json').read_text())
    for entry in content['runs']:
        if entry['task'] == 'again':
            entry['status'] = 'failed'
    (other / 'earlier.json').write_text(json.dumps(content))
    status, out, err = run(other, 'suite.py', '--earlier', 'earlier.json', '--only', 'again/good/seed_0')
    assert status == 0, err
    assert out.index('colours, good, seed 0 (log') < out.index('again, good, seed 0 (log')
    assert entries(results(other))['again', 0]['status'] == 'done'


def edit(content, **changes):
    for entry in content['runs']:
        entry.update(changes)


@pytest.mark.parametrize('change, message', [
    (lambda content: edit(content, identity='0'), 'colours, good, seed 0 has other settings than tiny_v1.py'),
    (lambda content: [entry.pop('identity', 0) for entry in content['runs']], 'before runs told their settings'),
    (lambda content: edit(content, seed=7), 'none of its runs that have ended is one of this suite'),
    (lambda content: content.pop('runs'), "no results of a suite .no 'runs'."),
], ids=['other settings', 'of before', 'another suite', 'no results'])
def test_results_that_cannot_be_taken_over(change, message, other):
    content = json.loads((other / 'earlier.json').read_text())
    change(content)
    (other / 'earlier.json').write_text(json.dumps(content))
    with pytest.raises(InputError, match=f'--earlier earlier.json: .*{message}'):
        run_suite('suite.py', earlier=['earlier.json'])
    assert not (other / 'work_dirs').exists()
