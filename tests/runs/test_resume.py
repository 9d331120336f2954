"""A run that is killed and resumed; which checkpoint is gone on from."""
import json
import os
import signal

import pytest
import torch

from mobileode_mm.checkpoints.resuming import find_resume_checkpoint
from mobileode_mm.errors import InputError

KILLER = '''
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Killer(Hook):
    """Kill the process in the middle of epoch 2, before its second iteration is logged."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 6 and 'KILL' in os.environ:
            os.kill(os.getpid(), signal.SIGKILL)
'''


def losses(work_dir):
    """Loss of each iteration, all digits; of a resumed run, what it logged itself."""
    newest = max(work_dir.glob('*/vis_data/scalars.json'))
    records = [json.loads(line) for line in newest.read_text().splitlines()]
    return {record['step']: record['loss'] for record in records if 'loss' in record}


BY_ITERATION = """
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=12, val_interval=4)
train_dataloader = dict(sampler=dict(type='InfiniteSampler'))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4))
param_scheduler = [dict(type='MultiStepLR', milestones=[8], by_epoch=False)]
"""


@pytest.fixture
def killed_and_resumed(shared_place, run):
    """Run a config until the Killer's iteration, and resume it; the losses of both runs."""

    def kill_and_resume(config, *args):
        (shared_place / 'killer.py').write_text(KILLER)
        name = f'killed_{config}'
        (shared_place / name).write_text(f"_base_ = './{config}'\ncustom_imports = dict(imports=['killer'])\n"
                                         "custom_hooks = [dict(type='Killer')]\n")
        command = (shared_place, 'train.py', name, '--work-dir', f'{name}_runs', *args)
        path = str(shared_place)
        status, _, _ = run(*command, PYTHONPATH=path, KILL='1')
        assert status == -signal.SIGKILL
        stopped = losses(shared_place / f'{name}_runs')
        status, log, err = run(*command, '--resume', PYTHONPATH=path)
        assert status == 0, err
        assert 'iter: 4\n' in log
        return stopped, losses(shared_place / f'{name}_runs')

    return kill_and_resume


def check_losses(undisturbed, stopped, resumed):
    assert sorted(undisturbed) == list(range(1, 13))
    # Two runs of one seed have the same losses to the last digit, and so has the rest of the run that was stopped.
    assert stopped == {step: undisturbed[step] for step in range(1, 6)}
    assert resumed == {step: undisturbed[step] for step in range(5, 13)}


def test_killed_run_resumes_with_the_losses_of_an_undisturbed_one(trained, killed_and_resumed):
    # The segmentor has dropout; the data are flipped and distorted at random in workers.
    work_dir, _ = trained('segmentation')
    check_losses(losses(work_dir), *killed_and_resumed('segmentation.py', '--auto-scale-lr'))


@pytest.mark.slow
def test_killed_run_by_iterations(shared_place, run, killed_and_resumed):
    (shared_place / 'by_iteration.py').write_text(f"_base_ = './segmentation.py'\n{BY_ITERATION}")
    status, _, err = run(shared_place, 'train.py', 'by_iteration.py')
    assert status == 0, err
    check_losses(losses(shared_place / 'work_dirs/by_iteration'), *killed_and_resumed('by_iteration.py'))


def write_checkpoint(path, iteration):
    torch.save(dict(meta=dict(epoch=iteration, iter=iteration), state_dict=dict(w=torch.zeros(3))), path)


@pytest.fixture
def work_dir(tmp_path):
    for epoch in (9, 10, 11):
        write_checkpoint(tmp_path / f'epoch_{epoch}.pth', epoch)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_11.pth'))
    return tmp_path


def test_resumes_from_last_checkpoint(work_dir):
    assert find_resume_checkpoint(work_dir) == (str(work_dir / 'epoch_11.pth'), [])
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_9.pth'))
    assert find_resume_checkpoint(work_dir) == (str(work_dir / 'epoch_9.pth'), [])


@pytest.mark.parametrize('size', [None, 0, 7, 600])
def test_falls_back_to_the_newest_whole_checkpoint(work_dir, size):
    last = work_dir / 'epoch_11.pth'
    if size is None:
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:size])
    # A copy may be younger than what it was copied with.
    os.utime(work_dir / 'epoch_9.pth', (2e9, 2e9))
    path, notes = find_resume_checkpoint(work_dir)
    assert path == str(work_dir / 'epoch_10.pth')
    assert len(notes) == 1 and str(last) in notes[0] and 'epoch_10.pth' in notes[0]
    assert ('does not exist' if size is None else 'torn') in notes[0]


def test_finds_checkpoints_of_a_work_dir_that_was_moved(work_dir):
    (work_dir / 'last_checkpoint').write_text('/elsewhere/epoch_10.pth')
    assert find_resume_checkpoint(work_dir) == (str(work_dir / 'epoch_10.pth'), [])


def test_a_copied_work_dir_is_its_own(work_dir):
    other = work_dir / 'other'
    other.mkdir()
    write_checkpoint(other / 'epoch_11.pth', 11)
    (work_dir / 'last_checkpoint').write_text(str(other / 'epoch_11.pth'))
    assert find_resume_checkpoint(work_dir) == (str(work_dir / 'epoch_11.pth'), [])


def test_last_checkpoint_cut_short(work_dir):
    (work_dir / 'last_checkpoint').write_text('')
    assert find_resume_checkpoint(work_dir)[0] == str(work_dir / 'epoch_11.pth')


def test_checkpoints_in_a_folder_of_their_own(work_dir, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    write_checkpoint(elsewhere / 'iter_500.pth', 500)
    (work_dir / 'last_checkpoint').write_text(str(elsewhere / 'iter_500.pth'))
    assert find_resume_checkpoint(work_dir, elsewhere) == (str(elsewhere / 'iter_500.pth'), [])


def test_nothing_to_resume(tmp_path):
    path, notes = find_resume_checkpoint(tmp_path)
    assert path is None
    assert 'starting anew' in notes[0]


def test_weights_of_the_best_epoch_alone_are_not_resumed(tmp_path):
    """Starting anew would overwrite them."""
    write_checkpoint(tmp_path / 'best_accuracy_top1_epoch_7.pth', 7)
    with pytest.raises(InputError, match='it holds best_accuracy_top1_epoch_7.pth, which has no state of'):
        find_resume_checkpoint(tmp_path)


def test_nothing_whole_to_resume(work_dir):
    for path in work_dir.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(InputError, match='epoch_11.pth is no checkpoint, or a torn one(.|\n)*--work-dir'):
        find_resume_checkpoint(work_dir)
