"""A user without a name and without a home, as containers have: ``docker run --user``, OpenShift."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobileode_mm.users import settle_user

VARIABLES = ('XDG_CACHE_HOME', 'MPLCONFIGDIR', 'TRITON_CACHE_DIR')
NAMES = ('LOGNAME', 'USER', 'LNAME', 'USERNAME')
#: A list of the system's users that knows nobody: what Python runs at its start.
NOBODY = '''import pwd
def unknown(number):
    raise KeyError('getpwuid(): uid not found')
pwd.getpwuid = unknown
'''
ROOT = Path(__file__).parents[1]


@pytest.fixture
def container(monkeypatch, tmp_path):
    """The environment of a container whose user is a number, and a folder for temporary files."""
    # torch sets the last one in the tests' own process, where it asked for the name.
    for name in (*NAMES, *VARIABLES, 'TORCH_EXTENSIONS_DIR', 'TORCHINDUCTOR_CACHE_DIR'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', '/proc/no_home')
    (tmp_path / 'start').mkdir()
    (tmp_path / 'start/sitecustomize.py').write_text(NOBODY)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path / 'start'), str(ROOT)]))
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'tmp'))


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize('home', ['/proc/no_home', None])
def test_commands_do_without_name_and_home(home, container, tmp_path, monkeypatch):
    if home is None:
        monkeypatch.delenv('HOME')
    run = python('-m', 'mobileode_mm', 'doctor')
    assert run.returncode == 0 and 'Training can start.' in run.stdout, run.stdout + run.stderr
    assert (tmp_path / f'tmp/mobileode_mm_uid{os.getuid()}/matplotlib').is_dir()


def test_the_doctor_alone_names_the_cause(container):
    run = python('-m', 'mobileode_mm.doctor')
    assert run.returncode == 1 and 'has no name here' in run.stdout and 'export USER=' in run.stdout
    assert 'pip install' not in run.stdout


def test_a_solver_in_the_users_own_program(container, tmp_path, monkeypatch):
    monkeypatch.delenv('HOME')
    run = python('-c', 'from mobileode_mm.ode.backends.build import cache_folder; print(cache_folder())')
    assert run.stdout.strip() == str(tmp_path / f'tmp/mobileode_mm_uid{os.getuid()}'), run.stderr


def test_what_is_there_stands(container, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('USER', 'ada')
    settle_user()
    assert os.environ['USER'] == 'ada' and not any(name in os.environ for name in VARIABLES)
    monkeypatch.setenv('HOME', '/proc/no_home')
    monkeypatch.setenv('MPLCONFIGDIR', '/mine')
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    Path(tmp_path, f'mobileode_mm_uid{os.getuid()}').symlink_to(tmp_path / 'home')
    settle_user()
    try:
        assert os.environ['MPLCONFIGDIR'] == '/mine'
        folder = Path(os.environ['XDG_CACHE_HOME'])
        assert folder.parent == tmp_path and folder.is_dir() and not folder.is_symlink(), 'no link is used'
    finally:
        for name in ('XDG_CACHE_HOME', 'TRITON_CACHE_DIR'):
            del os.environ[name]
