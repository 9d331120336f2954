"""How the CPU kernels are compiled and kept: once, by one process, and never used when damaged or another's."""
import fcntl
import logging
import os
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mobileode_mm.ode.backends import build
from mobileode_mm.ode.backends.compiler import NativeUnavailable, find_compiler, is_whole

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='nothing is compiled on Windows')

# Notes each call, and writes the file behind -o.
COMPILER = '''#!/bin/sh
case "$*" in *--version) echo tiny 1.0; exit;; esac
echo "$@" >> {log}
{first}
while [ "$1" != -o ]; do shift; done
echo made > "$2"
'''


@pytest.fixture
def make_compiler(tmp_path):
    """A compiler that is a shell script: ``make_compiler(first)`` with what it does first, in the shell's language."""

    def make(first: str = '', name: str = 'tiny-c++') -> list[str]:
        path = tmp_path / name
        path.write_text(COMPILER.format(log=shlex.quote(str(tmp_path / 'calls')), first=first))
        path.chmod(0o755)
        return [str(path)]

    return make


def linked(tmp_path: Path) -> int:
    """How many libraries were made."""
    return (tmp_path / 'calls').read_text().count(' -shared ')


def test_is_compiled_once_and_the_log_says_so(tmp_path, make_compiler, caplog):
    compiler, folder = make_compiler(), tmp_path / 'kept'
    path = build.compiled_library(compiler, folder)
    assert is_whole(path) and path.parent == folder and folder.stat().st_mode & 0o777 == 0o700
    assert build.compiled_library(compiler, folder) == path
    assert linked(tmp_path) == 1
    first, last = (record.getMessage() for record in caplog.records)
    assert first == f'compiling the CPU kernels with {compiler[0]}, once for this machine, about a minute'
    assert last.startswith('compiled the CPU kernels in ')
    # A program without logging of its own shows them.
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


@pytest.mark.parametrize('damage', [lambda whole: whole[:len(whole) // 2], lambda whole: bytes(len(whole)),
                                    lambda _: b''], ids=['cut', 'zeros', 'empty'])
def test_a_damaged_library_is_compiled_anew(tmp_path, make_compiler, caplog, damage):
    compiler = make_compiler()
    path = build.compiled_library(compiler, tmp_path / 'kept')
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert not is_whole(path)
    assert build.compiled_library(compiler, tmp_path / 'kept') == path
    assert path.read_bytes() == whole and is_whole(path)
    assert 'is not as it was compiled' in caplog.text


def test_another_compiler_or_its_arguments_make_another_library(tmp_path, make_compiler):
    compiler = make_compiler()
    paths = {build.compiled_library(command, tmp_path / 'kept') for command in (compiler, [*compiler, '-DX'])}
    assert len(paths) == 2


def test_of_two_at_once_one_compiles(tmp_path, make_compiler, caplog):
    compiler = make_compiler('sleep 0.3')
    with ThreadPoolExecutor() as pool:  # a lock is an open file's, not a process's
        paths = list(pool.map(lambda _: build.compiled_library(compiler, tmp_path / 'kept'), range(2)))
    assert paths[0] == paths[1] and linked(tmp_path) == 1
    assert caplog.text.count('waiting for another process') == 1


def test_a_process_that_never_finishes_is_not_waited_for(tmp_path, make_compiler):
    compiler = make_compiler()
    path = build.compiled_library(compiler, tmp_path / 'kept')
    path.unlink()
    with open(path.with_suffix('.lock'), 'w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(NativeUnavailable, match='another process holds .*lock'):
            build.compiled_library(compiler, tmp_path / 'kept', timeout=0.2)


def test_a_compiler_that_hangs_is_stopped_with_what_it_started(tmp_path, make_compiler):
    started = tmp_path / 'started'
    compiler = make_compiler(f'sleep 600 & echo $! >> {started}; wait')
    begin = time.monotonic()
    with pytest.raises(NativeUnavailable, match='tiny-c.. inference.cpp has not ended in time and was stopped'):
        build.compiled_library(compiler, tmp_path / 'kept', timeout=1)
    assert time.monotonic() - begin < 60

    def left():
        return [pid for pid in started.read_text().split() if Path(f'/proc/{pid}/cmdline').exists()
                and 'sleep' in Path(f'/proc/{pid}/cmdline').read_text()]

    while left() and time.monotonic() - begin < 60:  # a busy machine ends killed processes a moment later
        time.sleep(0.1)
    assert not left()
    assert [path.suffix for path in (tmp_path / 'kept').iterdir()] == ['.lock']


@pytest.mark.parametrize('first, reason', [
    ('echo "In file included from x" >&2; echo "vectors.h:3: error: no such thing" >&2; exit 1',
     'inference.cpp fails: vectors.h:3: error: no such thing'),
    ('echo "cannot find as" >&2; exit 1', 'inference.cpp fails: cannot find as'),
    ('exit 3', 'inference.cpp fails: status 3'),
    ('kill -9 $$', 'ended by signal 9'),
    ('case "$*" in *-shared*) echo "ld: cannot find -lgomp" >&2; exit 1; esac', '.so fails: ld: cannot find -lgomp'),
])
def test_the_reason_of_the_compiler_is_in_the_message(tmp_path, make_compiler, first, reason):
    with pytest.raises(NativeUnavailable, match=reason):
        build.compiled_library(make_compiler(first), tmp_path / 'kept')


def test_a_compiler_that_does_not_start(tmp_path):
    script = tmp_path / 'c++'
    script.write_text('#!/nowhere/sh\n')
    script.chmod(0o755)
    with pytest.raises(NativeUnavailable, match='the C.. compiler does not work: .*No such file'):
        build.compiled_library([str(script)], tmp_path / 'kept')


def test_cxx_may_have_arguments(tmp_path, make_compiler, monkeypatch):
    compiler, = make_compiler()
    cache = tmp_path / 'ccache'
    cache.write_text('#!/bin/sh\nexec "$@"\n')
    cache.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv('CXX', 'ccache tiny-c++ "-DNAME=two words"')
    assert find_compiler() == [str(cache), 'tiny-c++', '-DNAME=two words']
    assert is_whole(build.compiled_library(find_compiler(), tmp_path / 'kept'))
    assert ' '.join(['-DNAME=two words', '-std=c++17']) in (tmp_path / 'calls').read_text()
    monkeypatch.setenv('CXX', 'g++ "')
    with pytest.raises(NativeUnavailable, match='CXX=g.. " cannot be read'):
        find_compiler()
    monkeypatch.setenv('CXX', 'no-such-c++ -O1')
    with pytest.raises(NativeUnavailable, match=r'no C\+\+ compiler \(no-such-c\+\+\) is installed'):
        find_compiler()


def keep_elsewhere(compiler: list[str], folder: Path) -> None:
    path = build.compiled_library(compiler, folder)
    assert is_whole(path) and path.parent != folder and path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_all_may_write_to_is_not_used(tmp_path, make_compiler, caplog):
    compiler, folder = make_compiler(), tmp_path / 'kept'
    path = build.compiled_library(compiler, folder)
    folder.chmod(0o777)
    keep_elsewhere(compiler, folder)
    assert f'{folder} does not keep the CPU kernels: everybody may write to it' in caplog.text
    folder.chmod(0o700)
    path.chmod(0o666)  # and so is a library
    assert build.compiled_library(compiler, folder) == path and not path.stat().st_mode & 0o002


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid(), reason='only root gives files away')
def test_what_belongs_to_another_user_is_not_used(tmp_path, make_compiler, caplog):
    compiler, folder = make_compiler(), tmp_path / 'kept'
    path = build.compiled_library(compiler, folder)
    os.chown(path, 12345, 12345)
    assert build.compiled_library(compiler, folder) == path and path.stat().st_uid == 0
    os.chown(folder, 12345, 12345)
    keep_elsewhere(compiler, folder)
    assert 'it belongs to another user' in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path, make_compiler, caplog):
    (tmp_path / 'file').write_text('')
    keep_elsewhere(make_compiler(), tmp_path / 'file' / 'kept')
    assert 'Not a directory' in caplog.text


def test_what_the_doctor_says(tmp_path, make_compiler, monkeypatch):
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    monkeypatch.setenv(build.VARIABLE, 'compile')
    monkeypatch.setenv('CXX', 'no-such-c++')
    assert build.describe().startswith("none, torch's operators serve: no C++ compiler (no-such-c++)")
    compiler = make_compiler()
    monkeypatch.setenv('CXX', compiler[0])
    assert build.describe().startswith('not compiled yet')
    path = build.compiled_library(compiler, build.cache_folder())
    assert build.describe() == f'compiled for this processor, in {tmp_path / "mobileode_mm"}'
    path.write_bytes(b'')
    assert build.describe().startswith('not compiled yet')


def test_a_library_of_ones_own(tmp_path, monkeypatch):
    """Which a checker of memory instruments, for one."""
    monkeypatch.setenv(build.VARIABLE, str(tmp_path / 'none.so'))
    assert build.describe() == f'{tmp_path / "none.so"}, which MOBILEODE_KERNELS names'
    with pytest.raises(ValueError, match='MOBILEODE_KERNELS=.*none.so is neither "compile" nor a library: '):
        build.load_library.__wrapped__()
