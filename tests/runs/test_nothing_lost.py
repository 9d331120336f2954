"""What a run leaves where it cannot go on: a full disk, no work dir, Ctrl-C, a checkpoint that fits in part."""
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mobileode_mm.checkpoints.reading import read_checkpoint
from mobileode_mm.cli import main

ROOT = Path(__file__).parents[2]
IN_PROCESS = ('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0')
HOOK = '''
import shutil
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Remover(Hook):

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            shutil.rmtree(runner.work_dir)
'''


def train(*arguments):
    return main(['train', 'classification.py', '--work-dir', 'run', *arguments, '--cfg-options', *IN_PROCESS])


def one_error(capfd, *words):
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith('error: ')]) == 1, lines
    assert not [line for line in lines if 'Traceback' in line or 'Logging error' in line], lines
    assert all(word in lines[-1] for word in words), lines[-1]


@pytest.fixture
def stopped(place):
    """A run with one epoch behind it, and what a killed writer left."""
    assert train('--cfg-options', 'train_cfg.max_epochs=1') == 0
    Path('run/.epoch_2.pth.0123abcd.tmp').write_bytes(b'half')


def test_a_full_disk_leaves_what_is_whole(stopped, capfd):
    before = {path.name: path.read_bytes() for path in Path('run').glob('*.pth')}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize('run/epoch_1.pth') // 2, limits[1]))
    try:
        assert train('--resume') == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_error(capfd, 'error: cannot write: ', 'epoch_2.pth', 'Make room')
    assert {path.name: path.read_bytes() for path in Path('run').glob('*.pth')} == before
    assert not list(Path('run').glob('.*.tmp'))
    assert train('--resume') == 0
    assert read_checkpoint('run/epoch_3.pth')['meta']['epoch'] == 3


def test_a_log_that_cannot_be_written_ends_the_run(stopped, capfd):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, limits[1]))
    try:
        assert train('--resume') == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_error(capfd, 'error: cannot write: ')


@pytest.mark.parametrize('resume', [(), ('--resume', )])
def test_one_training_at_a_time(resume, place, capfd):
    Path('run').mkdir()
    hold = "import fcntl; file = open('run/.lock', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    other = subprocess.Popen([sys.executable, '-c', hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        assert train(*resume) == 2
    finally:
        other.communicate(b'\n')
    one_error(capfd, 'error: another training is at work in run, ', '--work-dir')
    assert [path.name for path in Path('run').iterdir()] == ['.lock']


def test_checkpoints_of_other_names_are_not_overwritten(place, capfd):
    with open('classification.py', 'a') as config:
        config.write("\ntrain_cfg['max_epochs'] = 1\n"
                     "default_hooks = dict(checkpoint=dict(type='CheckpointHook', filename_tmpl='net_{}.pth'))\n")
    assert train() == 0
    before = Path('run/net_1.pth').read_bytes()
    assert train() == 2
    one_error(capfd, 'run holds checkpoints of an earlier run, net_1.pth for one')
    assert Path('run/net_1.pth').read_bytes() == before


def test_a_work_dir_that_is_removed(place, capfd, monkeypatch):
    Path('remover.py').write_text(HOOK)
    monkeypatch.syspath_prepend(os.getcwd())
    with open('classification.py', 'a') as config:
        config.write("\ncustom_imports = dict(imports=['remover'])\ncustom_hooks = [dict(type='Remover')]\n")
    assert train() == 2
    one_error(capfd, 'the work dir run, or a folder in it, was removed')


def test_a_full_output(place):
    done = subprocess.run([sys.executable, ROOT / 'tools/train.py', 'classification.py', '--cfg-options', *IN_PROCESS],
                          stdout=open('/dev/full', 'w'), stderr=subprocess.PIPE, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith('error: cannot write: No space left on device')
    assert 'Traceback' not in done.stderr and 'Exception ignored' not in done.stderr


@pytest.mark.parametrize('part, value', [('optimizer', [1, 2]), ('message_hub', {'log_scalars': 3}), ('optimizer', {}),
                                         ('param_schedulers', [3])])
def test_what_weights_alone_fit_is_not_resumed(part, value, stopped, capfd):
    checkpoint = torch.load('run/epoch_1.pth', weights_only=False)
    torch.save({**checkpoint, part: value}, 'run/epoch_1.pth')
    assert train('--resume') == 2
    one_error(capfd, 'no run can go on from run/epoch_1.pth', 'load_from=run/epoch_1.pth')


def interrupted(folder, moment, again=None):
    """Status and error output of a training that is sent SIGINT as a terminal does: to all its processes."""
    shutil.rmtree(folder / 'interrupted', ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, ROOT / 'tools/train.py', 'classification.py', '--work-dir', 'interrupted'], cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'})
    try:
        if isinstance(moment, str):
            while process.poll() is None and not list(folder.glob(moment)):
                time.sleep(0.001)
        else:
            time.sleep(moment)
        for pause in [0] if again is None else [0, again]:
            time.sleep(pause)
            os.killpg(process.pid, signal.SIGINT)
        return process.communicate(timeout=60)[1], process.returncode
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_in_an_import(shared_place):
    assert interrupted(shared_place, 1) == ('stopped\n', 130)


@pytest.mark.slow
@pytest.mark.parametrize('moment, again', [
    (0.5, None), (2, None), (2, 0.01), ('interrupted', None), ('interrupted/classification.py', 0.01),
    ('interrupted/*/vis_data/scalars.json', None), ('interrupted/*/vis_data/scalars.json', 0.05),
    ('interrupted/.*.tmp', 0.02), ('interrupted/epoch_2.pth', 0.3)])
def test_ctrl_c_at_any_moment_is_one_line(moment, again, shared_place):
    assert interrupted(shared_place, moment, again) == ('stopped\n', 130)
    for path in (shared_place / 'interrupted').glob('*.pth'):
        read_checkpoint(path)
