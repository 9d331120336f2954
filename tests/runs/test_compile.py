"""``compile`` in a config: training, validation and testing on compiled networks, for each toolbox."""
import functools
import json
import pickle

import pytest
import torch

from mobileode_mm.ode.backends import cpu_operators

# A backbone of ours in the place of the classifier's.
OURS = ['model.backbone._delete_=True', 'model.backbone.type=mobileode_mm.MobileODEV1',
        'model.backbone.widen_factor=0.125', 'model.backbone.input_size=64', 'model.head.in_channels=9']
OPTIONS = {'detection': [], 'segmentation': [], 'classification': OURS}


@pytest.fixture(scope='module')
def eager(shared_place, run):
    """Train a task's config once, uncompiled."""
    return functools.cache(lambda task: train(run, shared_place, task, f'eager_{task}'))


def train(run, place, task: str, work_dir: str, *options: str) -> tuple[str, list[float], dict]:
    """Log, losses, and the weights in the end of one epoch of a task's own config."""
    status, log, err = run(place, 'train.py', f'{task}.py', '--work-dir', work_dir, '--cfg-options',
                           'train_cfg.max_epochs=1', *OPTIONS[task], *options)
    assert status == 0, err
    lines = next((place / work_dir).glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [entry['loss'] for entry in map(json.loads, lines) if 'loss' in entry]
    assert len(losses) == 4
    return log, losses, torch.load(place / work_dir / 'epoch_1.pth', weights_only=False)['state_dict']


def assert_compiled_is_eager(shared_place, run, eager, task: str, option: str) -> None:
    log, losses, weights = eager(task)
    assert 'ompiled on their first batches' not in log
    log, compiled_losses, compiled_weights = train(run, shared_place, task, f'compiled_{task}_{option}', option)
    assert 'Compiled on their first batches, which take long: backbone' in log
    torch.testing.assert_close(compiled_losses, losses, rtol=1e-3, atol=1e-4)
    assert compiled_weights.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(compiled_weights[name], value, rtol=1e-2, atol=1e-3, msg=f'{name} differs')


# This backend runs the traced graphs without making machine code of them.
@pytest.mark.slow
@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('task', OPTIONS)
def test_compiled_training_is_the_eager_one(task, shared_place, run, eager):
    assert_compiled_is_eager(shared_place, run, eager, task, 'compile.backend=aot_eager')


@pytest.mark.slow
@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
@pytest.mark.parametrize('task', OPTIONS)
def test_training_in_machine_code_is_the_eager_one(task, shared_place, run, eager):
    assert_compiled_is_eager(shared_place, run, eager, task, 'compile=True')


@pytest.mark.slow
@pytest.mark.skipif(not cpu_operators.is_available(), reason='no C++ compiler')
def test_compiled_test_of_an_eager_checkpoint(shared_place, run, eager, tmp_path):
    eager('classification')
    found = []
    for number, options in enumerate(([], ['compile.backend=aot_eager'])):
        status, log, err = run(shared_place, 'test.py', 'classification.py', 'eager_classification/epoch_1.pth',
                               '--work-dir', tmp_path / str(number), '--out', tmp_path / f'{number}.pkl',
                               '--cfg-options', *OURS, *options)
        assert status == 0, err
        assert ('Compiled on their first batches' in log) == bool(options)
        found.append([sample['pred_score'] for sample in pickle.loads((tmp_path / f'{number}.pkl').read_bytes())])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_bad_compile_is_refused_before_the_training(shared_place, run):
    status, log, err = run(shared_place, 'train.py', 'classification.py', '--work-dir', 'refused', '--cfg-options',
                           'compile.mode=fast')
    assert status == 2
    assert err.strip().splitlines()[-1].startswith('error: compile=') and 'mode=fast' in err
    assert not (shared_place / 'refused').exists()
