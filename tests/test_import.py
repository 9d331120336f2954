"""What importing the package loads and starts: networks need no drawing, and no compiler."""
import json
import subprocess
import sys

import pytest

# Prints, after each of several imports in one process, the modules that are there beside those of OpenMMLab's
# libraries, and the programs that were started.
PROGRAM = '''
import importlib, json, sys
import mmcv.cnn, mmengine.runner
before = set(sys.modules)
started, found = [], {}
sys.addaudithook(lambda event, args: started.append(str(args)) if event in (
    'subprocess.Popen', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork') else None)
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = [sorted(set(sys.modules) - before), list(started)]
print(json.dumps(found))
'''
DRAWING = {f'mobileode_mm.analysis.{name}' for name in ('curves', 'drawing', 'inside', 'sheet')}


def imported(*names: str) -> dict[str, tuple[set[str], list[str]]]:
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', PROGRAM, *names], capture_output=True, text=True,
                          check=True)
    return {name: (set(modules), started) for name, (modules, started) in json.loads(
        done.stdout.splitlines()[-1]).items()}


def test_neither_rich_nor_matplotlib_nor_a_compiler():
    """``mmengine.runner`` and ``mmcv.cnn`` load rich and cv2 themselves; nothing is added to that."""
    names = ['mobileode_mm', 'mobileode_mm.engine', 'mobileode_mm.apis', 'mobileode_mm.cli']
    for name, (modules, started) in imported(*names).items():
        assert not {'rich', 'matplotlib', 'cv2'} & {module.split('.')[0] for module in modules}, name
        assert not DRAWING & modules, name
        assert started == [], name


def test_networks_of_a_task_load_no_drawing_of_ours():
    """The toolboxes load matplotlib."""
    tasks = ['detection', 'segmentation', 'classification']
    for name, (modules, _) in imported(*(f'mobileode_mm.{task}' for task in tasks)).items():
        assert not DRAWING & modules, name
        assert not any(module.startswith(('rich.live', 'rich.progress')) for module in modules), name


def test_the_public_face():
    from mobileode_mm import apis
    assert all(callable(getattr(apis, name)) for name in apis.__all__)
    with pytest.raises(AttributeError, match='no attribute'):
        apis.nothing  # noqa: B018
