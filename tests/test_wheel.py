"""A wheel with the kernels inside, in an environment that has no compiler."""
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch

from mobileode_mm.ode.backends.compiler import LEVELS, NativeUnavailable, find_compiler

ROOT = Path(__file__).parents[1]
#: What is in a tree that a wheel is built of.
TREE = ('setup.py', 'pyproject.toml', 'LICENSE', 'README.md', 'mobileode_mm', 'mmodeconf', 'benchmarks')
pytestmark = pytest.mark.slow


def build_wheel(folder: Path, **environment: str) -> tuple[Path | None, str]:
    """Build one from a copy: building leaves folders in the tree. The wheel, None where it fails, and the log."""
    tree, out = folder / 'tree', folder / 'out'
    for name in TREE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        tree.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tree / name)
    pip = [sys.executable, '-m', 'pip', 'wheel', '-v', '--no-deps', '--no-build-isolation', '-w', str(out), str(tree)]
    done = subprocess.run(pip, capture_output=True, text=True, env={**os.environ, **environment})
    return next(out.glob('*.whl'), None), done.stdout + done.stderr


# Writes what stands for a library.
COMPILER = '''#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo made > "$2"
'''


def test_is_for_every_python_of_this_platform(tmp_path):
    compiler = tmp_path / 'c++'
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    wheel, log = build_wheel(tmp_path, CXX=str(compiler))
    assert wheel, log
    platform = sysconfig.get_platform().replace('-', '_').replace('.', '_')
    assert wheel.name.endswith(f'-py3-none-{platform}.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name for name in archive.namelist() if '/prebuilt/' in name}
        assert 'Root-Is-Purelib: false' in archive.read(next(
            name for name in archive.namelist() if name.endswith('/WHEEL'))).decode()
    libraries = {f'kernels_{level}.so' for level in LEVELS[os.uname().machine]}
    assert names == libraries | {f'{name}.sha256' for name in libraries}


def test_is_pure_without_a_compiler_and_says_so(tmp_path):
    wheel, log = build_wheel(tmp_path, CXX='no-such-c++')
    assert wheel.name.endswith('-py3-none-any.whl')
    assert 'a wheel without kernels, which are compiled at their first use: no C++ compiler (no-such-c++)' in log
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if '/prebuilt/' in name]


@pytest.mark.parametrize('value, message', [('1', 'MOBILEODE_BUILD_KERNELS=1, but no C++ compiler (no-such-c++)'),
                                            ('yes', 'MOBILEODE_BUILD_KERNELS=yes is unknown; legal: 0, 1, or nothing')])
def test_kernels_that_are_demanded_and_cannot_be_had(tmp_path, value, message):
    wheel, log = build_wheel(tmp_path, CXX='no-such-c++', MOBILEODE_BUILD_KERNELS=value)
    assert wheel is None and message in log


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A Python that has the wheel, and torch and the rest from this environment: ``run(*arguments, **environment)``.

    PATH has no compiler.
    """
    try:
        find_compiler()
    except NativeUnavailable as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp('wheel')
    wheel, log = build_wheel(folder, MOBILEODE_BUILD_KERNELS='1')
    assert wheel is not None, log
    subprocess.run([sys.executable, '-m', 'venv', str(folder / 'venv')], check=True)
    python = folder / 'venv/bin/python'
    subprocess.run([str(python), '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', str(wheel)], check=True)
    site = Path(subprocess.run([str(python), '-c', 'import sysconfig; print(sysconfig.get_path("platlib"))'],
                               capture_output=True, text=True, check=True).stdout.strip())
    (site / 'others.pth').write_text(sysconfig.get_path('purelib') + '\n')
    empty = folder / 'empty'
    empty.mkdir()

    def run(*arguments, **environment):
        done = subprocess.run([str(python), *arguments], cwd=empty, capture_output=True, text=True,
                              env={'PATH': str(empty), 'HOME': str(empty), 'OMP_NUM_THREADS': '2', **environment})
        return done.returncode, done.stdout, done.stderr

    run.site = site
    return run


@pytest.mark.parametrize('capability', ['', 'default', 'avx2'])
def test_the_released_numbers_without_a_compiler(installed, capability):
    """By the library of this processor, and by those of lesser ones."""
    chosen = {'ATEN_CPU_CAPABILITY': capability} if capability else {}
    status, out, err = installed('-c', 'import mobileode_mm.doctor as d, torch; '
                                 'print(torch.backends.cpu.get_cpu_capability(), d.__file__); d.report()', **chosen)
    asked, _, place = out.splitlines()[0].partition(' ')
    assert Path(place).is_relative_to(installed.site)
    levels = LEVELS[os.uname().machine]
    level = asked if asked in levels else list(levels)[-1]
    if not capability:
        assert asked == torch.backends.cpu.get_cpu_capability()
    assert f'\nkernels       prebuilt, {level}\n' in out
    status, out, err = installed('-W', 'error:MobileODE:UserWarning', '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
                                 str(ROOT / 'tests/ode/test_cos.py'), str(ROOT / 'tests/ode/test_kernel_arguments.py'),
                                 '-k', 'released_numbers or any_strides or layer_equals_reference', **chosen)
    assert status == 0, out + err
    assert 'passed' in out and 'skipped' not in out


@pytest.mark.parametrize('damage', ['cut', 'zeros'])
def test_a_damaged_library_is_not_loaded(installed, damage):
    program = '''
import torch
from mobileode_mm.ode import ChannelwiseODESolver
layer = ChannelwiseODESolver(64, 64)
x = torch.randn(2, 64, 8, 8)
assert layer(x).isfinite().all()
print(layer.backend_for(x)[0])
'''
    assert installed('-c', program)[1] == 'cpu\n'
    libraries = list((installed.site / 'mobileode_mm/ode/backends/prebuilt').glob('*.so'))
    whole = {path: path.read_bytes() for path in libraries}
    try:
        for path, content in whole.items():
            path.write_bytes(content[:len(content) // 2] if damage == 'cut' else bytes(len(content)))
        status, out, err = installed('-c', program)
    finally:
        for path, content in whole.items():
            path.write_bytes(content)
    assert (status, out) == (0, 'operators\n'), err
    assert 'is not used: it is not as it was compiled. Install mobileode-mm again' in err
    assert 'no C++ compiler' in err
