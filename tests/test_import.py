"""What importing the package loads and starts: networks need no drawing, and no compiler."""
import json
import subprocess
import sys

import pytest

# Prints the modules that an import adds to those of OpenMMLab's libraries, and the programs that it starts.
PROGRAM = '''
import importlib, json, sys
import mmcv.cnn, mmengine.runner
before = set(sys.modules)
started = []
sys.addaudithook(lambda event, args: started.append(str(args)) if event in (
    'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork') else None)
importlib.import_module(sys.argv[1])
print(json.dumps([sorted(set(sys.modules) - before), started]))
'''
DRAWING = {f'mobileode_mm.analysis.{name}' for name in ('curves', 'drawing', 'inside', 'sheet')}


def imported(name: str) -> tuple[set[str], list[str]]:
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', PROGRAM, name], capture_output=True, text=True,
                          check=True)
    modules, started = json.loads(done.stdout.splitlines()[-1])
    return set(modules), started


@pytest.mark.parametrize('name', ['mobileode_mm', 'mobileode_mm.engine', 'mobileode_mm.apis', 'mobileode_mm.cli'])
def test_neither_rich_nor_matplotlib_nor_a_compiler(name):
    """``mmengine.runner`` and ``mmcv.cnn`` load rich and cv2 themselves; nothing is added to that."""
    modules, started = imported(name)
    assert not {'rich', 'matplotlib', 'cv2'} & {module.split('.')[0] for module in modules}
    assert not DRAWING & modules
    assert started == []


@pytest.mark.parametrize('task', ['detection', 'segmentation', 'classification'])
def test_networks_of_a_task_load_no_drawing_of_ours(task):
    """The toolboxes load matplotlib."""
    modules, _ = imported(f'mobileode_mm.{task}')
    assert not DRAWING & modules
    assert not any(module.startswith(('rich.live', 'rich.progress')) for module in modules)


def test_the_public_face():
    from mobileode_mm import apis
    assert all(callable(getattr(apis, name)) for name in apis.__all__)
    with pytest.raises(AttributeError, match='no attribute'):
        apis.nothing  # noqa: B018
