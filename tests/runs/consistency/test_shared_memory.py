"""Shared memory that is too small for what the workers of a dataloader prepare."""
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from mobileode_mm.runs.consistency import shared_memory

#: Bytes of an image of 64x64 px with its tensors, in pages: colours are changed in float32, boxes and labels are a
#: tensor each, label maps have 64 bits.
PAGE = 4096
IMAGE = 3 * 64 * 64
BYTES = [('detection', 'train', 4 * IMAGE + 2 * PAGE), ('detection', 'val', IMAGE + 2 * PAGE),
         ('segmentation', 'train', IMAGE + 8 * 64 * 64), ('classification', 'val', IMAGE + PAGE)]


def workers(number, split='train', **settings):
    def change(cfg):
        cfg[f'{split}_dataloader'].update(num_workers=number, batch_size=4, **settings)
    return change


def free(number, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=number))


@pytest.mark.parametrize('task, split, size', BYTES)
def test_what_the_workers_hold_is_counted(task, split, size, findings, monkeypatch):
    batches = 5 * 4 * size
    for number, left, refused in ((2, batches, False), (2, batches - 1, True), (3, batches, True), (0, 0, False)):
        free(left, monkeypatch)
        problems, _ = findings(task, workers(number, split), model=True, splits=(split, ))
        assert bool(problems) == refused
    assert not problems, 'without workers nothing is handed over'


def test_processes_of_one_machine_share_it(findings, monkeypatch):
    free(12 * 4 * BYTES[0][2], monkeypatch)
    assert not findings('detection', workers(2), model=True, splits=('train', ))[0]
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    problem, = findings('detection', workers(2), model=True, splits=('train', ))[0]
    assert 'keep up to 15 batches of 0.2 MB' in problem and 'has 2.8 MB left' in problem
    assert '--shm-size=1g' in problem and problem.endswith('train_dataloader.num_workers=1')


@pytest.mark.parametrize('task, collate, files', [
    ('detection', None, 64 * 3 * 2), ('classification', None, 64 * 2),
    ('classification', 'pseudo_collate', 64 * 2 * 2)])
def test_fewer_files_than_tensors(task, collate, files, findings, monkeypatch):
    """Image, boxes and labels of each image are a file each, in two batches; stacked images are one of a batch."""
    def change(cfg):
        cfg.train_dataloader.update(batch_size=64, num_workers=1)
        if collate:
            cfg.train_dataloader.collate_fn = dict(type=collate)
    monkeypatch.setattr(shared_memory, 'raise_open_files', lambda: files)
    assert findings(task, change, model=True, splits=('train', ))[0] == []
    monkeypatch.setattr(shared_memory, 'raise_open_files', lambda: files - 1)
    problem, = findings(task, change, model=True, splits=('train', ))[0]
    assert f'a worker keeps {files} files open for 2 batches of 64 images' in problem


def test_as_many_files_as_the_system_allows():
    code = ('import resource as r; from mobileode_mm.runs.processes import raise_open_files; '
            'r.setrlimit(r.RLIMIT_NOFILE, (200, 900)); '
            'print(raise_open_files(), *r.getrlimit(r.RLIMIT_NOFILE), raise_open_files())')
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert ended.stdout.split() == ['900'] * 4, ended.stderr


def test_a_container_with_little_of_it(place):
    """As in Docker, whose default of 64 MB is a tmpfs; here one of 64 kB, in a namespace of its own."""
    inside = ['unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$0" "$@"']
    if not shutil.which('unshare') or subprocess.run([*inside, 'true'], capture_output=True).returncode:
        pytest.skip('this user may not mount a file system')
    ended = subprocess.run([*inside, sys.executable, '-m', 'mobileode_mm', 'train', 'detection.py', '--cfg-options',
                            'train_dataloader.num_workers=2'], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and 'train_dataloader: 2 workers keep up to 5 batches' in ended.stderr
    assert not (place / 'work_dirs').exists()
