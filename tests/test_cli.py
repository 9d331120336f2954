"""The one command line: its overview, its commands, the earlier names."""
import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mobileode_mm import cli
from mobileode_mm.cli import COMMANDS, GROUPS, main, old_name
from mobileode_mm.version import __version__

ROOT = Path(cli.__file__).parents[1]
OWN = [name for name, command in COMMANDS.items() if command.module.startswith('mobileode_mm.')]
HIDE = '''
import sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent)
'''


def without(folder, names, *arguments):
    """Run ``python -m mobileode_mm`` where these modules cannot be imported."""
    folder.joinpath('sitecustomize.py').write_text(HIDE.format(names=names))
    return subprocess.run([sys.executable, '-W', 'ignore', '-m', 'mobileode_mm', *arguments], cwd='/', text=True,
                          capture_output=True, env={**os.environ, 'PYTHONPATH': f'{folder}{os.pathsep}{ROOT}'})


@pytest.mark.parametrize('arguments', [[], ['-h'], ['--help']])
def test_the_overview_names_every_group_and_command(arguments, capsys):
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for title, commands in GROUPS.items():
        start = lines.index(f'{title}:') + 1
        assert [line.split()[0] for line in lines[start:start + len(commands)]] == list(commands)


@pytest.mark.parametrize('name', OWN)
def test_each_command_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as done:
        main([name, '--help'])
    assert done.value.code == 0
    assert f'usage: mobileode {name} ' in capsys.readouterr().out


def test_version(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'mobileode_mm {__version__}\n'


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(['trian']) == 2
    assert capsys.readouterr().err.startswith('error: there is no command trian; nearest names: train')


def test_an_earlier_name_says_the_new_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['/somewhere/mobileode-train', str(tmp_path / 'absent.py')])
    assert old_name() == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == 'mobileode-train: now "mobileode train"'
    assert second.startswith('error: there is no config ')


def test_the_overview_needs_no_torch(tmp_path):
    done = without(tmp_path, ['torch', 'mmengine', 'mmcv'], '--help')
    assert done.returncode == 0 and 'mini-data' in done.stdout, done.stderr


@pytest.mark.parametrize('name', ['flops', 'suite'])
def test_what_runs_from_a_checkout_says_so_elsewhere(name, tmp_path):
    done = without(tmp_path, ['benchmarks'], name)
    assert done.returncode == 2
    assert done.stderr == f'error: mobileode {name} runs from a checkout: clone the repository, and in it ' \
                          'pip install -e .\n'


def test_each_tool_is_a_command_under_another_name():
    named = []
    for path in (ROOT / 'tools').rglob('*.py'):
        text = path.read_text()
        if path.name == 'run_onnx.py':  # which is taken along with a model, and needs nothing of this project
            continue
        named += re.findall(r"main\(\['([\w-]+)', \*sys.argv\[1:\]\]\)", text)
        assert f'mobileode {named[-1]}' in ast.get_docstring(ast.parse(text))
    assert sorted(named) == sorted(set(COMMANDS) - {'doctor'})
