"""The doctor, in this environment and in environments broken on purpose."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mobileode_mm import doctor

ROOT = Path(doctor.__file__).parents[1]


def run_doctor(*first_on_path):
    """Exit status and report, with folders that come before the installed packages."""
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, [*first_on_path, ROOT]))}
    command = [sys.executable, '-m', 'mobileode_mm.doctor']
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd='/', env=environment)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.returncode, done.stdout


def fix(report, what):
    """The command beneath the problem whose text matches."""
    found = re.search(rf'wrong: .*{what}.*\n  fix it with: (.*)', report)
    assert found, report
    return found[1]


def distribution(folder, name, version):
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    info.joinpath('METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def test_this_environment_can_train():
    status, report = run_doctor()
    assert status == 0, report
    assert report.endswith('Training can start.\n')
    for name in ('python', 'torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmcv ops', 'device', 'kernels'):
        assert re.search(rf'^{name}  ', report, re.MULTILINE), name
    assert re.search(r"^solver on GPU (torch's operators: |sm_|gfx)", report, re.MULTILINE)


# A module that shadows the installed one, the problem it must lead to, and what the command must contain.
BROKEN = {
    'torch': ('raise OSError("libcudart.so.13: cannot open")',
              'torch does not import', 'torch==2.11.0 torchvision=='),
    'torchvision': ('raise RuntimeError("operator torchvision::nms does not exist")',
                    'does not fit torch .*torchvision::nms', '--force-reinstall torch==2.11.0 torchvision=='),
    'numpy': ('raise ImportError("numpy.core.multiarray failed to import")',
              'numpy does not import', 'numpy==2.2.6'),
    'cv2': ('raise ImportError("libGL.so.1: cannot open shared object file")', 'mmcv does not import .*libGL',
            '--force-reinstall --no-deps opencv-python-headless==4.12.0.88'),
    'imgaug': ('raise RuntimeError("cannot cache function \'blur\': no locator available for file \'a.py\'")',
               'mmdet does not import, so no detection', 'export NUMBA_CACHE_DIR='),
    'pycocotools': ('raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")',
                    'mmdet does not import, so no detection', 'numpy==2.2.6'),
}


# The last ones show only after every toolbox was tried, each in an interpreter of its own.
@pytest.mark.parametrize('module', [*list(BROKEN)[:-2], *(pytest.param(name, marks=pytest.mark.slow)
                                                          for name in list(BROKEN)[-2:])])
def test_what_does_not_import_is_named_with_its_command(tmp_path, module):
    body, problem, command = BROKEN[module]
    tmp_path.joinpath(f'{module}.py').write_text(body)
    status, report = run_doctor(tmp_path)
    assert status == 1
    assert command in fix(report, problem)
    assert report.endswith('Training cannot start.\n')


HIDE = """
import sys

class Absent:
    def find_spec(name, path=None, target=None):
        if name.split('.')[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent)
"""


@pytest.mark.parametrize('names, status', [(['torch', 'torchvision'], 1), (['mmengine'], 1), (['mmdet'], 1),
                                           (['mmseg', 'mmpretrain'], 0)])
def test_what_is_missing_is_named_with_its_command(tmp_path, names, status):
    tmp_path.joinpath('sitecustomize.py').write_text(HIDE.format(names=names))
    got, report = run_doctor(tmp_path)
    assert got == status, report
    command = fix(report, f'{", ".join(names)} not installed')
    expected = doctor.DISTRIBUTIONS.get(names[0], ['torch==2.11.0'])[0]
    assert expected in command


def test_families_that_are_mixed(tmp_path, monkeypatch):
    distribution(tmp_path, 'mmcv', '2.2.0')
    distribution(tmp_path, 'onedl-mmcv', '2.3.6')
    monkeypatch.syspath_prepend(tmp_path)
    problem, = doctor.check_families()
    assert problem.stops_training
    assert 'onedl-mmcv' in problem.what and re.search(r' and mmcv\b', problem.what)
    assert re.search(r' uninstall -y .*\bonedl-mmcv mmcv\b.*&& .* install onedl-mmengine==', problem.command)


def test_openmmlabs_own_distributions_are_no_problem_and_are_kept(monkeypatch):
    own = {'mmengine': '0.10.7', 'mmcv': '2.1.0'}
    monkeypatch.setattr(doctor, 'version_of', own.get)
    assert doctor.check_families() == []
    assert doctor.install_stack().endswith(' install mmengine mmcv mmdet mmsegmentation mmpretrain')


@pytest.mark.parametrize('version, too_old', [('2.3.1', True), ('1.13.0', True), ('2.4.0+cpu', False),
                                              ('2.12.0a0+git', False)])
def test_torch_that_is_too_old(tmp_path, monkeypatch, version, too_old):
    distribution(tmp_path, 'torch', version)
    monkeypatch.syspath_prepend(tmp_path)
    doctor.check_torch.cache_clear()
    problems = doctor.check_torch()
    doctor.check_torch.cache_clear()
    assert [p.what for p in problems] == [f'torch {version} is too old: 2.4 is needed'] * too_old
    assert all('torch==2.11.0 torchvision==0.26.0' in p.command for p in problems)


def test_the_set_the_doctor_installs_is_the_one_in_the_constraints():
    lines = ROOT.joinpath('constraints.txt').read_text().splitlines()
    pins = dict(line.split(';')[0].strip().split('==') for line in lines if not line.startswith('#'))
    assert {name: pins[name] for name in doctor.TESTED} == doctor.TESTED
