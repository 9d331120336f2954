"""What is installed, what is wrong with it, and the command that fixes it: ``mobileode doctor``.

Only the standard library is imported at the top: this has to run where everything else is missing, also as
``python -m mobileode_mm.doctor``.
"""

from __future__ import annotations  # an older Python gets as far as the message that says so

import argparse
import contextlib
import functools
import importlib
import importlib.util
import io
import os
import platform
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from importlib import metadata

from mobileode_mm.compat import mmcv_ops
from mobileode_mm.version import __version__

OLDEST_PYTHON = (3, 10)
OLDEST_TORCH = (2, 4)

# The set this project is tested with, as in constraints.txt.
TESTED = {
    'torch': '2.11.0',
    'torchvision': '0.26.0',
    'numpy': '2.2.6',
    'opencv-python-headless': '4.12.0.88',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}

# Import name: the maintained distribution of it, and OpenMMLab's own. Both write the same files.
DISTRIBUTIONS = {
    'mmengine': ('onedl-mmengine', ('mmengine', 'mmengine-lite')),
    'mmcv': ('onedl-mmcv', ('mmcv', 'mmcv-full', 'mmcv-lite')),
    'mmdet': ('onedl-mmdetection', ('mmdet',)),
    'mmseg': ('onedl-mmsegmentation', ('mmsegmentation',)),
    'mmpretrain': ('onedl-mmpretrain', ('mmpretrain',)),
}
TOOLBOXES = {'mmdet': 'detection', 'mmseg': 'segmentation', 'mmpretrain': 'classification'}


@dataclass
class Problem:
    """Something wrong, and the command that fixes it.

    Detection is the task every installation must serve; one without segmentation or classification can train.
    """
    what: str
    command: str
    stops_training: bool = True


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def installed(name: str) -> tuple[list[str], list[str]]:
    """Distributions installed for an import name: the maintained ones, OpenMMLab's own ones."""
    maintained, own = DISTRIBUTIONS[name]
    return [d for d in (maintained,) if version_of(d)], [d for d in own if version_of(d)]


def is_missing(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except ModuleNotFoundError:
        return True


@functools.cache
def import_error(*names: str) -> str | None:
    """The last line of the traceback that importing these modules ends in, None if they import."""
    try:
        # What the toolboxes have to say when they are imported is not part of the report.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for name in names:
                importlib.import_module(name)
        return None
    except Exception:  # a broken installation raises anything
        # A second attempt in the same process can fail differently from the first, so a new one is asked.
        program = 'import mobileode_mm\n' + '\n'.join(f'import {name}' for name in names)
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', program], capture_output=True, text=True)
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def pip_install(*distributions: str, options: str = '') -> str:
    pins = (f'{d}=={TESTED[d]}' if d in TESTED else d for d in distributions)
    return ' '.join([mmcv_ops.pip(), 'install', *options.split(), *pins])


def install_stack() -> str:
    """Installs what is missing of the five OpenMMLab packages, in the family that is already there."""
    if any(installed(name)[1] for name in DISTRIBUTIONS):
        return pip_install(*(own[0] for _, own in DISTRIBUTIONS.values()))
    return pip_install(*(maintained for maintained, _ in DISTRIBUTIONS.values()))


def replace_stack() -> str:
    """Removes whatever is installed of both families and installs the maintained one."""
    present = [d for name in DISTRIBUTIONS for family in installed(name) for d in family]
    install = pip_install(*(maintained for maintained, _ in DISTRIBUTIONS.values()))
    return f'{mmcv_ops.pip()} uninstall -y {" ".join(present)} && {install}'


def fix_import(error: str) -> str:
    """The command for an import that failed although the package is there."""
    if re.search(r'lib(GL|gthread|glib|EGL|Qt|xcb|SM|ICE|Xext)', error):
        return pip_install('opencv-python-headless', options='--force-reinstall --no-deps')
    if 'no locator available' in error:  # of numba: neither the packages' folder nor the home can be written to
        return 'export NUMBA_CACHE_DIR=/tmp/numba'
    if re.search('numpy|_ARRAY_API', error, re.IGNORECASE):
        return pip_install('numpy')
    return install_stack()


def toolbox_error(name: str) -> str | None:
    return import_error(f'{name}.models', f'{name}.datasets', f'{name}.evaluation')


def check_python() -> list[Problem]:
    if sys.version_info >= OLDEST_PYTHON:
        return []
    found = platform.python_version()
    return [Problem(f'Python {found} is too old: 3.10 is needed', 'python3.11 -m venv .venv')]


@functools.cache
def check_torch() -> list[Problem]:
    missing = [name for name in ('torch', 'torchvision', 'numpy') if is_missing(name)]
    if missing:
        return [Problem(f'{", ".join(missing)} not installed', pip_install('torch', 'torchvision', 'numpy'))]
    replace = pip_install('torch', 'torchvision', 'numpy', options='--force-reinstall')
    found = version_of('torch') or ''
    numbers = re.match(r'(\d+)\.(\d+)', found)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST_TORCH:
        return [Problem(f'torch {found} is too old: 2.4 is needed', replace)]
    if error := import_error('numpy'):
        return [Problem(f'numpy does not import ({error})', pip_install('numpy'))]
    if error := import_error('torch'):
        return [Problem(f'torch does not import ({error})', replace)]
    if error := import_error('torchvision'):
        if 'uid not found' in error:
            return [Problem(f'the user of this process has no name here, and torch asks for it ({error})',
                            'export USER=user')]
        what = f'torchvision {version_of("torchvision")} does not fit torch {found} ({error})'
        return [Problem(what, replace)]
    import numpy
    import torch
    try:
        torch.from_numpy(numpy.zeros(1))
    except RuntimeError as error:
        what = f'torch {found} cannot use numpy {numpy.__version__} ({error})'
        return [Problem(what, pip_install('numpy'))]
    return []


def check_families() -> list[Problem]:
    maintained, own = ([d for name in DISTRIBUTIONS for d in installed(name)[family]] for family in (0, 1))
    if not (maintained and own):
        return []
    what = f'{", ".join(maintained)} and {", ".join(own)} are of two families that write the same files'
    return [Problem(what, replace_stack())]


def check_missing() -> list[Problem]:
    missing = [name for name in DISTRIBUTIONS if is_missing(name)]
    if not missing:
        return []
    without = ', '.join(TOOLBOXES[name] for name in missing if name in TOOLBOXES)
    stops = any(name not in ('mmseg', 'mmpretrain') for name in missing)
    return [Problem(f'{", ".join(missing)} not installed' + (f' (needed for {without})' if without else ''),
                    install_stack(), stops)]


@functools.cache
def check_mmcv() -> list[Problem]:
    """Needs torch in order."""
    for name in ('mmengine', 'mmcv'):
        if not is_missing(name) and (error := import_error(name)):
            return [Problem(f'{name} does not import ({error})', fix_import(error))]
    ops = mmcv_ops.ops_in_use()
    if ops == 'broken':
        return [Problem(f"mmcv's compiled operators do not load ({import_error('mmcv._ext')})",
                        mmcv_ops.compile_command())]
    import torch
    if ops == 'compiled' and torch.cuda.is_available():
        from mmcv.ops import get_compiling_cuda_version
        if get_compiling_cuda_version() == 'not available':
            what = "mmcv's operators are compiled for the CPU alone, and this machine trains on a GPU"
            return [Problem(what, mmcv_ops.compile_command())]
    return []


def check_toolboxes() -> list[Problem]:
    """Needs mmcv in order."""
    problems = []
    for name, task in TOOLBOXES.items():
        if is_missing(name):
            continue
        if error := toolbox_error(name):
            problems.append(Problem(f'{name} does not import, so no {task} ({error})', fix_import(error),
                                    stops_training=name == 'mmdet'))
    if not problems and (error := import_error('mobileode_mm.runs.training')):
        absent = re.search(r"No module named '(\w+)", error)
        problems.append(Problem(f'the training program does not import ({error})',
                                pip_install(absent[1]) if absent else fix_import(error)))
    return problems


def examine() -> list[Problem]:
    """Everything wrong with this installation, the cause before what follows from it."""
    problems = check_python() + check_torch() + check_families() + check_missing()
    if not check_torch():
        problems += check_mmcv() or check_toolboxes()
    return problems


def device() -> str:
    if import_error('torch'):
        return 'unknown: torch cannot be imported'
    import torch
    threads = f'{torch.get_num_threads()} of {os.cpu_count()} cores used for threads'
    if torch.cuda.is_available():
        cards = ', '.join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return f'cuda: {cards} (CUDA {torch.version.cuda}), {threads}'
    return f'{"mps" if torch.backends.mps.is_available() else "cpu"}, {threads}'


def solver_on_gpu() -> str:
    """What ``solver_backend='auto'`` takes on a GPU, and why."""
    if import_error('torch'):
        return 'unknown: torch cannot be imported'
    if error := import_error('mobileode_mm.ode.backends.gpus'):
        return f'unknown: the solver does not import ({error})'
    from mobileode_mm.ode.backends import gpus
    return gpus.describe()


def kernels(compiles: bool) -> str:
    """Which kernels compute the solver on a CPU; ``compiles`` lets them be compiled where they are not yet."""
    if import_error('torch'):
        return 'unknown: torch cannot be imported'
    if error := import_error('mobileode_mm.ode.backends.build'):
        return f'unknown: the solver does not import ({error})'
    from mobileode_mm.ode.backends import build
    if compiles:
        # Why they cannot be compiled is a warning, and training goes without them.
        build.is_available()
    return build.describe()


def describe(compiles: bool) -> list[tuple[str, str]]:
    """What is installed, as rows of a table."""
    rows = [('mobileode_mm', __version__), ('python', f'{platform.python_version()} ({sys.executable})')]
    rows += [(name, version_of(name) or 'not installed') for name in ('torch', 'torchvision', 'numpy')]
    for name in DISTRIBUTIONS:
        found = ', '.join(f'{version_of(d)} from {d}' for family in installed(name) for d in family)
        if is_missing(name):
            state = 'not installed'
        elif check_torch() or (name in TOOLBOXES and check_mmcv()):
            state = 'not tried: it needs what is wrong below'
        elif toolbox_error(name) if name in TOOLBOXES else import_error(name):
            state = 'does not import'
        else:
            state = 'imports'
        rows.append((name, f'{found}; {state}' if found else state))
    rows.append(('mmcv ops', {
        'compiled': 'compiled',
        'torchvision': "torchvision's, in the place of mmcv's compiled ones",
        'broken': 'compiled, but they do not load',
        'none': 'none: mmcv cannot be imported',
    }[mmcv_ops.ops_in_use()]))
    rows.append(('device', device()))
    rows.append(('kernels', kernels(compiles)))
    rows.append(('solver on GPU', solver_on_gpu()))
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument('--compile-kernels', action='store_true',
                        help='compile the CPU kernels now where they are not yet, rather than at their first use')


def report(compiles: bool = False) -> int:
    """Print what is installed and what is wrong with it. Returns 1 if training could not start, else 0.

    Args:
        compiles: Whether the CPU kernels are compiled where they are not yet.
    """
    problems = examine()
    for name, value in describe(compiles):
        print(f'{name:<14}{value}')
    for problem in problems:
        print(f'\nwrong: {problem.what}\n  fix it with: {problem.command}')
    stopped = any(problem.stops_training for problem in problems)
    print('\nTraining cannot start.' if stopped else '\nTraining can start.')
    return int(stopped)


if __name__ == '__main__':
    # Not by way of the one command line, which an older Python cannot read.
    parser = argparse.ArgumentParser('python -m mobileode_mm.doctor', description=__doc__.splitlines()[0])
    add_arguments(parser)
    sys.exit(report(parser.parse_args().compile_kernels))
