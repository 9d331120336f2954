import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.runner import Runner, find_latest_checkpoint

from mobileode_mm.engine import AtomicLocalBackend
from mobileode_mm.engine.atomic_backend import remove_unfinished

# Writes larger and larger payloads, each of one repeated byte, to one name until killed.
WRITER = '''
import sys
from mobileode_mm.engine import AtomicLocalBackend
backend, number = AtomicLocalBackend(), 0
while True:
    number += 1
    payload = bytes([number % 251]) * (48_000_000 + number)
    print(number, flush=True)
    backend.put(payload, sys.argv[1])
'''


def test_is_found_by_name():
    assert type(get_file_backend(backend_args=dict(backend='atomic'))) is AtomicLocalBackend


def test_writes_like_the_local_backend(tmp_path):
    backend = AtomicLocalBackend()
    backend.put(b'one', tmp_path / 'new' / 'folder' / 'a.bin')
    backend.put(b'two', str(tmp_path / 'new/folder/a.bin'))
    backend.put_text('drei grün', tmp_path / 'b.txt')
    assert backend.get(tmp_path / 'new/folder/a.bin') == b'two'
    assert backend.get_text(tmp_path / 'b.txt') == 'drei grün'
    assert sorted(os.listdir(tmp_path / 'new/folder')) == ['a.bin']

    plain = tmp_path / 'plain'
    plain.touch()
    assert (tmp_path / 'b.txt').stat().st_mode == plain.stat().st_mode  # not the 0600 of temporary files


def test_a_bare_name_is_written_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    AtomicLocalBackend().put(b'x', 'bare.bin')
    assert os.listdir(tmp_path) == ['bare.bin']


def test_a_failed_write_leaves_what_was_there(tmp_path):
    resource = pytest.importorskip('resource')
    target = tmp_path / 'epoch_1.pth'
    target.write_bytes(b'old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # as a full disk: the write stops midway
    try:
        with pytest.raises(OSError):
            AtomicLocalBackend().put(bytes(2 << 20), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


def _kill_while_writing(target):
    """SIGKILL the writer while a temporary file is growing; the numbers of payloads that it had begun."""
    writer = subprocess.Popen([sys.executable, '-c', WRITER, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        writer.stdout.readline()
        writer.stdout.readline()  # the first payload is complete
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            partial = [entry for entry in os.scandir(target.parent) if entry.name.endswith('.tmp')]
            try:
                if partial and 0 < partial[0].stat().st_size < 48_000_000:
                    break
            except FileNotFoundError:  # just renamed
                pass
        writer.send_signal(signal.SIGKILL)
        return [1, 2] + [int(line) for line in writer.stdout.read().split()]
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_sigkill_leaves_a_whole_file_and_harmless_temporaries(tmp_path):
    target = tmp_path / 'epoch_1.pth'
    halves = []
    for _ in range(2):
        begun = _kill_while_writing(target)
        content = target.read_bytes()
        number = len(content) - 48_000_000
        assert number in begun[-2:], 'neither the last payload nor the one before'
        assert content == bytes([number % 251]) * len(content)
        assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
        assert [path.name for path in tmp_path.glob('epoch_*')] == ['epoch_1.pth']
        halves += [path for path in tmp_path.iterdir()
                   if path.name.endswith('.tmp') and 0 < path.stat().st_size < 48_000_000]
    assert halves, 'no kill fell into a write: the test has shown nothing'

    AtomicLocalBackend().put(b'again', target)  # in spite of what lies around
    assert target.read_bytes() == b'again'


@pytest.mark.parametrize('max_keep_ckpts', [1, 2])
def test_a_run_with_best_and_limited_checkpoints(tmp_path, toy, max_keep_ckpts):
    runner = Runner(**toy.toy_config(tmp_path, epochs=5, checkpoint=dict(
        max_keep_ckpts=max_keep_ckpts, save_best='accuracy/top1')))
    runner.train()

    kept = [f'epoch_{epoch}.pth' for epoch in range(5 - max_keep_ckpts + 1, 6)]
    assert sorted(path.name for path in tmp_path.glob('epoch_*.pth')) == kept
    best, = tmp_path.glob('best_*.pth')
    assert best.name.startswith('best_accuracy_top1_epoch_')
    assert not list(tmp_path.glob('.*'))
    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_5.pth')

    weights = torch.load(tmp_path / 'epoch_5.pth', weights_only=False)['state_dict']
    assert all(torch.equal(weights[name], value) for name, value in runner.model.state_dict().items())


def test_a_run_killed_in_a_checkpoint_resumes_from_the_one_before(tmp_path, toy):
    # The write of epoch 3 stops for good before the rename, as a kill would stop it.
    script = tmp_path / 'run.py'
    script.write_text(f'''
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location('toy', {toy.__file__!r})
toy = importlib.util.module_from_spec(spec); sys.modules['toy'] = toy; spec.loader.exec_module(toy)
from mmengine.runner import Runner
import mobileode_mm.engine
def fsync(number):
    if 'epoch_3' in os.readlink(f'/proc/self/fd/{{number}}'):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
Runner(**toy.toy_config({str(tmp_path / "work")!r}, epochs=4, checkpoint=dict(max_keep_ckpts=2))).train()
''')
    assert subprocess.run([sys.executable, script], capture_output=True).returncode == -signal.SIGKILL
    work = tmp_path / 'work'
    assert find_latest_checkpoint(str(work)) == str(work / 'epoch_2.pth')
    assert sorted(path.name for path in work.glob('*.pth')) == ['epoch_2.pth']

    runner = Runner(**toy.toy_config(work, epochs=4, checkpoint=dict(max_keep_ckpts=2), resume=True))
    runner.train()
    assert runner.epoch == 4 and runner.iter == 32
    assert sorted(path.name for path in work.glob('*.pth')) == ['epoch_3.pth', 'epoch_4.pth']


def test_what_killed_writers_left_is_removed(tmp_path):
    names = ['.epoch_3.pth.0123abcd.tmp', '.predictions.json.ffffffff.tmp']
    others = ['.epoch_3.pth.tmp', 'epoch_3.pth.0123abcd.tmp', '.vimrc', 'epoch_2.pth', '.a.0123abcg.tmp']
    for name in (*names, *others):
        (tmp_path / name).write_text('')
    assert sorted(remove_unfinished(tmp_path)) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_a_file_that_is_being_written_stays(tmp_path):
    path = tmp_path / '.epoch_3.pth.0123abcd.tmp'
    writer = subprocess.Popen([sys.executable, '-c', 'import fcntl, sys; file = open(sys.argv[1], "w"); '
                               'fcntl.flock(file, fcntl.LOCK_EX); print(1, flush=True); input()', path],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer.stdout.readline()
    assert remove_unfinished(tmp_path) == [] and path.exists()
    writer.communicate(b'\n')
    assert remove_unfinished(tmp_path) == [path.name]
