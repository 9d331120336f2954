"""Tasks whose backbones start from what another task of the suite left."""
import json
import re
import shutil

import pytest
import torch

from benchmarks.suites.execution import run_suite
from mobileode_mm.errors import InputError

# Each starts processes of its own.
pytestmark = pytest.mark.slow

SUITE = """
tasks = dict(
    colours=dict(configs='tiny_{}.py', input_size=(32, 32), metrics=['accuracy/top1']),
    again=dict(starts_from='colours', configs='tiny_{}.py', input_size=(32, 32), metrics=['accuracy/top1'],
               cfg_options={'optim_wrapper.optimizer.lr': 0., 'optim_wrapper.optimizer.momentum': 0.}))
backbones = {
    'good': dict(config='v1'),
    'broken': dict(config='v1', colours={'custom_hooks': [dict(type='Trouble', kind='fail')]}),
}
seeds = [0]
"""
COLOURS, AGAIN = (f'work_dirs/suites/suite/runs/{task}' for task in ('colours', 'again'))


@pytest.fixture(scope='module')
def started(tmp_path_factory, run, make_place):
    """A folder where both tasks have run at once, the second from the first; what the tool said."""
    folder = make_place(tmp_path_factory.mktemp('started'))
    (folder / 'suite.py').write_text(SUITE)
    return folder, *run(folder, 'suite.py', '--jobs', 4)


def outcomes(folder):
    runs = json.loads((folder / 'work_dirs/suites/suite/results.json').read_text())['runs']
    return {(run['task'], run['backbone']): (run['status'], run['reason']) for run in runs}


def backbone(folder, run):
    state = torch.load(folder / run / 'good/seed_0/epoch_3.pth', weights_only=False)['state_dict']
    return {name: value for name, value in state.items() if name.startswith('backbone.')
            and not re.search('running_|num_batches', name)}


def test_the_backbone_starts_from_the_run_with_the_same_seed(started):
    folder, status, out, err = started
    assert status == 1, f'one failed: {err}'
    assert outcomes(folder)['again', 'good'] == ('done', '')
    # Whose learning rate is 0.
    first, second = backbone(folder, COLOURS), backbone(folder, AGAIN)
    assert first.keys() == second.keys() and len(first) > 20
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert 'Backbones of again start from what the run of colours with the same seed left.' in out
    # It waited, though four could run at once.
    assert re.search(r'\[1/4\] accuracy.*\[2/4\] again, good', out, re.DOTALL), out


def test_without_weights_to_start_from_a_run_fails_and_is_fixed_with_them(started, copied, run):
    folder = copied(started[0])
    assert outcomes(folder)['again', 'broken'] == (
        'failed', 'error: colours, broken, seed 0, which it starts from, left no weights')
    (folder / 'fixed').touch()
    status, _, err = run(folder, 'suite.py')
    assert status == 0, err
    assert {outcome for outcome, _ in outcomes(folder).values()} == {'done'}


@pytest.mark.parametrize('change, message', [
    (lambda folder: shutil.rmtree(folder / COLOURS / 'good'), 'again/good/seed_0 did not start from what is now in '),
    (lambda folder: (folder / 'suite.py').write_text(SUITE.replace("'good': dict(config='v1'", (
        "'good': dict(config='v1', colours={'optim_wrapper.optimizer.lr': .1}"))),
     'again/good/seed_0 is of a run with other settings .in what it starts from'),
], ids=['another run', 'other settings'])
def test_what_it_started_from_is_known(change, message, started, copied):
    change(copied(started[0]))
    with pytest.raises(InputError, match=message):
        run_suite('suite.py')


def test_another_network_is_told_before_anything_is_trained(tmp_path, run, make_place):
    folder = make_place(tmp_path)
    (folder / 'suite.py').write_text(SUITE.replace("'tiny_{}.py', input", "'tiny_{}.py', cfg_options={"
                                                   "'model.backbone.type': 'MobileODEV2'}, input", 1))
    status, _, err = run(folder, 'suite.py')
    assert status == 2 and 'again, good starts from colours: what that leaves is a checkpoint of another network' in err
    assert not list(folder.rglob('*.pth'))
