"""Where the stand-in for mmcv's extension steps in, and where it keeps out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mobileode_mm.compat import mmcv_ops

# Runs mmcv_ops.py by itself: neither the package nor anything it needs is imported.
ALONE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location('mmcv_ops', {mmcv_ops.__file__!r})
mmcv_ops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_ops)
mmcv_ops.install()
"""


def run(program, cwd=None):
    """The lines a fresh interpreter prints; ``cwd`` is first on its path."""
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_install_imports_nothing_and_is_done_once():
    lines = run(ALONE + """
mmcv_ops.install()
finder = mmcv_ops._ExtensionFinder
print(sys.meta_path.count(finder), sys.meta_path[-1] is finder)
print([name for name in ('torch', 'torchvision', 'mmengine', 'mmcv') if name in sys.modules])
print(importlib.util.find_spec('no_such_package'))
""")
    assert lines == ['1 True', '[]', 'None']


@pytest.mark.parametrize('extension, state', [
    ('ours = False', 'compiled'),
    ('raise ImportError("libc10.so: undefined symbol")', 'broken'),
    (None, 'torchvision'),
])
def test_an_mmcv_with_an_extension_keeps_it(tmp_path, extension, state):
    package = tmp_path / 'mmcv'
    package.mkdir()
    package.joinpath('__init__.py').touch()
    if extension is not None:
        package.joinpath('_ext.py').write_text(extension)
    lines = run(ALONE + """
print(mmcv_ops.ops_in_use())
if mmcv_ops.ops_in_use() == 'compiled':
    import mmcv._ext
    print(mmcv._ext.ours)
""", cwd=tmp_path)
    assert lines == [state] + ['False'] * (state == 'compiled')


def test_without_mmcv_there_are_no_ops(tmp_path):
    tmp_path.joinpath('mmcv.py').write_text('raise OSError("libGL.so.1: cannot open shared object file")')
    assert run(ALONE + 'print(mmcv_ops.ops_in_use())', cwd=tmp_path) == ['none']


def test_the_toolboxes_import_and_the_log_says_once_what_serves_them():
    lines = run("""
import mobileode_mm, sys
print('mmcv.ops' in sys.modules, 'torchvision' in sys.modules)
import mmdet.models, mmseg.models, mmpretrain.models, mmcv.ops
from mmcv.utils.ext_loader import check_ops_exist
print(mobileode_mm.mmcv_ops.ops_in_use(), check_ops_exist())
from mmcv.utils import collect_env
collect_env()
""")
    assert lines[0] == 'False False'
    state = mmcv_ops.ops_in_use()
    assert f'{state} True' in lines
    assert sum('mmcv has no compiled operators' in line for line in lines) == (state == 'torchvision')


def test_the_command_names_the_distribution_that_is_installed(tmp_path):
    assert re.search(r' && MMCV_WITH_OPS=1 \S+ -m pip install .*--no-build-isolation \S*mmcv==',
                     mmcv_ops.compile_command())
    folder = tmp_path / 'mmcv_lite-2.1.0.dist-info'
    folder.mkdir()
    folder.joinpath('METADATA').write_text('Metadata-Version: 2.1\nName: mmcv-lite\nVersion: 2.1.0\n')
    program = f'sys.path[:] = [{str(tmp_path)!r}]\nprint(mmcv_ops.compile_command())'
    assert run(ALONE + program)[0].endswith(' mmcv==2.1.0')


def test_a_python_without_the_stack_gets_a_warning_not_an_error(tmp_path):
    tmp_path.joinpath('mmengine.py').write_text('raise ImportError("broken on purpose")')
    root = str(Path(mmcv_ops.__file__).parents[2])
    lines = run(f"""
import sys, warnings
sys.path.append({root!r})
with warnings.catch_warnings(record=True) as caught:
    import mobileode_mm
print(caught[0].message)
""", cwd=tmp_path)
    assert 'broken on purpose' in lines[0] and 'python -m mobileode_mm.doctor' in lines[0]
