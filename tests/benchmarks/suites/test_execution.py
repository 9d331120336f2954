"""A suite from its start to its table, stopped, broken, on several processes."""
import json
import re
import signal

import pytest
import torch

from benchmarks.suites import processes
from benchmarks.suites.execution import run_suite
from benchmarks.suites.processes import share
from mobileode_mm.errors import InputError

# Each starts processes of its own.
pytestmark = pytest.mark.slow

FOLDER = 'work_dirs/suites/suite'
GOOD, BROKEN, WILD = (f'runs/colours/{name}/seed_0' for name in ('good', 'broken', 'wild'))
#: What a training says of the MemoryError in which the broken network ends.
NO_MEMORY = 'error: the machine has no memory left'


def results(folder):
    return json.loads((folder / FOLDER / 'results.json').read_text())


def table(folder):
    """The rows of results.md, up to the multiply-adds: times differ."""
    return [' | '.join(line.split(' | ')[:5]) for line in (folder / FOLDER / 'results.md').read_text().splitlines()
            if re.match(r'\| (good|broken|wild) \|', line)]


def outcomes(folder):
    keys = ('backbone', 'seed', 'status', 'reason', 'metrics')
    return [[run[key] for key in keys] for run in results(folder)['runs']]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_every_run_is_shown(finished):
    folder, status, out, err = finished
    assert status == 1, f'one failed: {err}'
    found = {run['backbone']: run for run in results(folder)['runs']}
    assert {name: run['status'] for name, run in found.items()} == dict(good='done', broken='failed', wild='diverged')
    assert found['broken']['reason'].startswith(NO_MEMORY)
    assert re.match('loss was nan at iteration [456]', found['wild']['reason'])
    assert 0 <= found['good']['metrics']['accuracy/top1'] <= 100
    good, broken, wild = table(folder)
    assert re.match(r'\| good \| [\d.]+ \| 1 of 1 \| 0.0\d \| 0.\d$', good)
    assert '| – | 0 of 1; failed: seed 0 |' in broken and '| – | 0 of 1; diverged: seed 0 |' in wild
    assert good in out and wild in out and NO_MEMORY in out


def test_what_a_run_leaves(finished):
    folder = finished[0] / FOLDER
    assert {path.name for path in folder.iterdir()} - {'.lock_0'} == {
        'results.json', 'results.md', 'results.html', 'latency.json', 'runs'}
    run = folder / GOOD
    assert {'settings.json', 'result.json', 'console.log', 'tiny_v1.py', 'epoch_3.pth', 'test'} <= {
        path.name for path in run.iterdir()}
    assert not (run / 'epoch_2.pth').exists()
    settings, result = (json.loads((run / name).read_text()) for name in ('settings.json', 'result.json'))
    assert settings['seed'] == 0 and settings['cfg_options']['randomness.seed'] == 0
    assert 'torch ' in result['machine'] and 'cores' in result['machine']
    assert results(finished[0])['latency']['threads'] == 1
    assert 'id="pareto"' in (folder / 'results.html').read_text()


def change(name, old, new):
    def edit(folder):
        path = folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return edit


@pytest.mark.parametrize('name', [f'{GOOD}/settings.json', f'{GOOD}/result.json', 'results.json', 'latency.json'])
def test_a_torn_file_is_named_and_nothing_written(name, finished, copied):
    folder = copied(finished[0]) / FOLDER
    (folder / name).write_text((folder / name).read_text()[:-9])
    before = contents(folder)
    with pytest.raises(InputError, match=rf'{name} is broken JSON at line \d+') as error:
        run_suite('suite.py')
    assert 'nothing written' in str(error.value)
    assert contents(folder) == before


@pytest.mark.parametrize('spoil, message', [
    (lambda folder: change('suite.py', "'stop'", "'idle'")(folder), 'with other settings .*idle'),
    (lambda folder: change('tiny_v1.py', 'lr=0.05', 'lr=0.06')(folder), 'with other settings .in its config'),
])
def test_another_suite_in_the_same_folder(spoil, message, finished, copied):
    spoil(copied(finished[0]))
    with pytest.raises(InputError, match=message):
        run_suite('suite.py')


def test_faults_of_the_command(place):
    with pytest.raises(InputError, match='0 processes'):
        run_suite('suite.py', processes=0)
    with pytest.raises(InputError, match='0 jobs'):
        run_suite('suite.py', jobs=0)
    with pytest.raises(InputError, match='one of the two'):
        run_suite('suite.py', processes=2, jobs=2)
    (place / 'file').touch()
    with pytest.raises(InputError, match='cannot be written'):
        run_suite('suite.py', work_dir='file/below')


def test_faults_of_a_network_are_told_before_anything_is_trained(place, run):
    change('suite.py', "kind='fail'", "kind='fail'), dict(type='Trubble'")(place)
    change('tiny_v1.py', 'MobileODEV1', 'MobileODEV7')(place)
    status, out, err = run(place, 'suite.py')
    assert status == 2 and err.startswith('error: ') and 'MobileODEV7' in err and 'Traceback' not in err
    assert not list((place / FOLDER).rglob('*.pth')) and not (place / FOLDER / 'results.json').exists()


def test_killed_and_started_again_ends_with_the_same_table(finished, place, run):
    status, out, _ = run(place, 'suite.py', KILL='1')
    assert status == -signal.SIGKILL
    assert (place / FOLDER / GOOD / 'epoch_1.pth').is_file() and not (place / FOLDER / 'results.json').exists()
    status, out, err = run(place, 'suite.py')
    assert status == 1, err
    assert table(place) == table(finished[0])
    assert outcomes(place) == outcomes(finished[0])
    # Resumed, not repeated: the second training began in epoch 2.
    first, second = sorted((place / FOLDER / GOOD).glob('*/vis_data/scalars.json'))
    assert json.loads(second.read_text().splitlines()[0])['iter'] == 4

    # What is done is skipped, what failed is tried again and takes its place in the table.
    before = contents(place / FOLDER / GOOD)
    (place / 'fixed').touch()
    status, out, err = run(place, 'suite.py')
    assert status == 0, err
    assert contents(place / FOLDER / GOOD) == before and 'good' not in out.split('# Suite')[0]
    assert [run['status'] for run in results(place)['runs']] == ['done', 'done', 'diverged']
    assert 'measuring latency' not in out


def test_interrupt_stops_the_suite_and_not_a_run(place, start):
    process = start(place, 'suite.py')
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'stopped' in err
    assert not list((place / FOLDER).rglob('result.json'))


def test_named_runs_alone_and_then_the_rest(finished, place, run):
    status, out, err = run(place, 'suite.py', '--only', 'colours/good/seed_0')
    assert status == 0, err
    assert [run['status'] for run in results(place)['runs']] == ['done', 'not run yet', 'not run yet']
    assert results(place)['command'].endswith(' --only colours/good/seed_0')
    assert not (place / FOLDER / 'latency.json').exists() and 'Beside docs/results' not in out
    status, out, err = run(place, 'suite.py', '--only', 'colours/goo')
    assert status == 2 and '--only colours/goo: no run of the suite is named so; there are colours/good, ' in err
    assert run(place, 'suite.py')[0] == 1 and outcomes(place) == outcomes(finished[0])


def test_two_runs_at_once(finished, place, run):
    status, out, err = run(place, 'suite.py', '--jobs', 2)
    assert status == 1, err
    assert outcomes(place) == outcomes(finished[0])
    assert '`mobileode suite suite.py --jobs 2`' in out
    # The second began before the first had ended.
    assert [line[:5] for line in out.splitlines()[:2]] == ['[1/3]', '[2/3]'] and '    [2/3] failed: ' in out


def test_interrupt_stops_all_runs(place, start):
    process = start(place, 'suite.py', '--jobs', 2)
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'stopped' in err
    assert not list((place / FOLDER).rglob('result.json'))


def test_runs_at_once_share_the_machine(monkeypatch):
    for name in ('OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, 'usable_cores', lambda: 7)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert share(0, 1) == {}
    assert [share(slot, 3) for slot in range(3)] == [
        dict(OMP_NUM_THREADS='2', CUDA_VISIBLE_DEVICES=gpu) for gpu in '010']
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('OMP_NUM_THREADS', '5')
    assert share(1, 9) == {}
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,6')
    assert share(1, 9) == dict(CUDA_VISIBLE_DEVICES='6')


def test_two_processes_share_each_run(place, run):
    status, out, err = run(place, 'suite.py', '--nproc', 2)
    assert status == 1, err
    assert [run['status'] for run in results(place)['runs']] == ['done', 'failed', 'diverged']
    assert results(place)['runs'][1]['reason'].startswith(NO_MEMORY)
    assert '--nproc 2' in out and '2 processes a run' in out
    assert 'Effective batch size: 8' in (place / FOLDER / GOOD / 'console.log').read_text()
    with pytest.raises(InputError, match='processes: 2, now 1'):
        run_suite('suite.py')


def test_two_suites_in_one_folder(place, start):
    first = start(place, 'suite.py')
    first.stdout.readline()
    second = start(place, 'suite.py')
    _, err = second.communicate(timeout=120)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert second.returncode == 2 and 'another suite is at work' in err
