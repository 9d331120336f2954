"""What an installation consists of: the wheel, its requirements, the pins, the Makefile and the CI script."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mobileode_mm.cli import ALIASES, COMMANDS
from mobileode_mm.doctor import DISTRIBUTIONS

ROOT = Path(__file__).parents[1]
PACKAGES = ('mobileode_mm', 'mmodeconf')
# Import names that differ from the name of the distribution.
DISTRIBUTION_OF = {'PIL': 'pillow', 'cv2': 'opencv-python', 'skimage': 'scikit-image', 'sklearn': 'scikit-learn',
                   'yaml': 'pyyaml'}
# What the OpenMMLab packages bring along, in either family: mmdet reads masks with it.
BROUGHT_BY_OPENMMLAB = {*DISTRIBUTIONS, 'pycocotools'}


def sources(*packages):
    return [path for package in packages or PACKAGES for path in (ROOT / package).rglob('*.py')]


def pip(*arguments):
    subprocess.run([sys.executable, '-m', 'pip', *arguments], check=True)


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """Built from a copy: building leaves folders in the tree it builds from."""
    tree, out = tmp_path_factory.mktemp('tree'), tmp_path_factory.mktemp('wheel')
    for name in ('setup.py', 'pyproject.toml', 'LICENSE', 'README.md'):
        shutil.copy(ROOT / name, tree)
    for package in (*PACKAGES, 'benchmarks'):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns('__pycache__'))
    with pytest.MonkeyPatch.context() as patch:  # which take minutes; test_wheel.py has them
        patch.setenv('MOBILEODE_BUILD_KERNELS', '0')
        pip('wheel', '-q', '--no-deps', '--no-build-isolation', '-w', out, tree)
    return next(out.glob('*.whl'))


@pytest.fixture(scope='module')
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith('.dist-info/METADATA'))
        return Parser().parsestr(archive.read(name).decode())


@pytest.fixture(scope='module')
def requirements(metadata):
    """By extra, '' for what is always installed."""
    by_extra = {extra: [] for extra in ('', *metadata.get_all('Provides-Extra'))}
    for line in metadata.get_all('Requires-Dist'):
        requirement = Requirement(line)
        extra = re.search(r'extra == ["\'](\w+)', str(requirement.marker or ''))
        by_extra[extra[1] if extra else ''].append(requirement)
    return by_extra


def test_the_wheel_holds_both_packages_whole_and_nothing_else(wheel):
    kernels = [path for folder in ('ode/backends/csrc', 'deploy/ort', 'deploy/ov', 'deploy/web')
               for path in (ROOT / 'mobileode_mm' / folder).iterdir()]
    tables = list((ROOT / 'mobileode_mm').rglob('*.json'))
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if '.dist-info/' not in name}
        assert any(name.endswith('LICENSE') for name in archive.namelist())
    assert files == {str(path.relative_to(ROOT)) for path in [*sources(), *kernels, *tables]}
    assert any(path.suffix == '.cpp' for path in kernels)


def test_the_wheel_works_without_the_source_tree(wheel, tmp_path):
    site = tmp_path / 'site'
    pip('install', '-q', '--no-deps', '--target', site, wheel)
    scripts = configparser.ConfigParser()
    scripts.read(next(site.glob('*.dist-info')) / 'entry_points.txt')
    commands = dict(scripts['console_scripts'])
    assert commands.keys() == {'mobileode', 'mobileode-train', 'mobileode-test', 'mobileode-infer',
                               'mobileode-publish', 'mobileode-export', 'mobileode-doctor', 'mobileode-mini-data',
                               'mobileode-verify-data'}
    assert {name.removeprefix('mobileode-') for name in commands} <= {'mobileode', *COMMANDS, *ALIASES}
    program = ['import mobileode_mm, mmodeconf']
    program += ['from {} import {}'.format(*target.split(':')) for target in commands.values()]
    program += ['print(mobileode_mm.__file__)', 'print(mmodeconf.__file__)']
    done = subprocess.run([sys.executable, '-c', '\n'.join(program)], cwd=tmp_path, capture_output=True,
                          text=True, env={**os.environ, 'PYTHONPATH': str(site)})
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(site)) for line in done.stdout.splitlines()[-2:]), done.stdout


def test_openmmlab_is_an_extra_and_never_required(requirements):
    openmmlab = {d for maintained, own in DISTRIBUTIONS.values() for d in (maintained, *own)}
    assert not openmmlab & {r.name for r in requirements['']}
    assert {r.name for r in requirements['openmmlab']} == {family[0] for family in DISTRIBUTIONS.values()}
    torch, = (r.specifier for r in requirements[''] if r.name == 'torch')
    assert '2.4.0' in torch and '2.3.1' not in torch


def test_every_import_is_required(requirements):
    # benchmarks/ needs no more than these
    extras = ('', 'demo', 'deploy', 'openvino', 'ncnn', 'litert', 'executorch', 'sbd', 'timm')
    allowed = {canonicalize_name(r.name) for extra in extras for r in requirements[extra]}
    # torch brings Triton with CUDA.
    known = {*PACKAGES, 'benchmarks', *BROUGHT_BY_OPENMMLAB, *sys.stdlib_module_names, 'triton'}
    unknown = {}
    for path in sources(*PACKAGES, 'benchmarks'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            for top in {name.split('.')[0] for name in names} - known:
                if canonicalize_name(DISTRIBUTION_OF.get(top, top)) not in allowed:
                    unknown.setdefault(top, str(path.relative_to(ROOT)))
    assert not unknown


def test_the_constraints_pin_every_requirement_to_a_version_it_allows(requirements):
    pins = {}
    for line in (ROOT / 'constraints.txt').read_text().splitlines():
        if line and not line.startswith('#'):
            pin = Requirement(line)
            assert [s.operator for s in pin.specifier] == ['=='], line
            pins[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    for requirement in (r for group in requirements.values() for r in group):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


STUB = """#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
    "-m venv .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *"{fails}"*) exit 3 ;;
esac
"""


@pytest.mark.skipif(shutil.which('make') is None, reason='make is not installed')
def test_an_interrupted_install_is_taken_up_and_a_finished_one_not_repeated(tmp_path):
    for name in ('Makefile', 'setup.py', 'pyproject.toml', 'constraints.txt'):
        shutil.copy(ROOT / name, tmp_path)
    log, stub = tmp_path / 'log', tmp_path / 'bin' / 'python3'
    stub.parent.mkdir()

    def install(fails='nothing at all'):
        stub.write_text(STUB.format(log=log, fails=fails))
        stub.chmod(0o755)
        log.write_text('')
        environment = {**os.environ, 'PATH': f'{stub.parent}{os.pathsep}{os.environ["PATH"]}'}
        environment.pop('MAKEFLAGS', None)
        done = subprocess.run(['make', 'install'], cwd=tmp_path, env=environment, capture_output=True)
        return done.returncode, log.read_text().splitlines()

    assert install(fails='pip install')[0] != 0
    assert install(fails='doctor')[0] != 0
    status, calls = install()
    assert status == 0 and len(calls) == 4 and all('-c constraints.txt' in call for call in calls[1:3])
    assert install() == (0, [])
    os.utime(tmp_path / 'constraints.txt', (2e9, 2e9))
    assert len(install(fails='pip install')[1]) == 2
    assert len(install()[1]) == 4


@pytest.mark.parametrize('closing, status', [('== 3 passed, 1 deselected in 2.10s ==', 0),
                                             ('=== 1 failed, 2 passed in 61.05s (0:01:01) ===', 2)])
def test_ci_passes_the_status_on_and_ends_with_pytests_closing_line(tmp_path, closing, status):
    make = tmp_path / 'make'
    make.write_text(f'#!/bin/sh\necho "{closing}"\necho "make: a line after it"\nexit {status}\n')
    make.chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'}
    done = subprocess.run(ROOT / '.ci' / 'run', env=environment, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == closing
