"""The arrows of docs/architecture.md: imports point down, there are no circles, and the page names what there is."""
import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs' / 'architecture.md').read_text()
#: From the bottom up. What stands in one row may import what is below it, and of its own row itself alone.
LAYERS = [
    ['interrupts', 'version'],
    ['errors'],
    ['ode', 'compat', 'memory', 'users'],
    ['backbones', 'data', 'analysis'],
    ['detection', 'segmentation', 'classification', 'checkpoints', 'doctor'],
    ['engine', 'zoo'],
    ['runs'],
    ['inference'],
    ['deploy', 'fit'],
    ['apis'],
    ['commands'],
    ['cli'],
    ['__main__'],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules(package):
    """Dotted name and file of every module."""
    for path in sorted((ROOT / package).rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        yield '.'.join(parts[:-1] if parts[-1] == '__init__' else parts), path


def imports(name, path):
    """Dotted names that a module imports of this project, wherever in the file."""
    package = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            source = '.'.join([*base, *(node.module.split('.') if node.module else [])])
            yield from (f'{source}.{alias.name}' for alias in node.names)


def room(name):
    """The package or module right below ``mobileode_mm`` that a dotted name is in; '' for the face."""
    parts = name.split('.')
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else ''


ARROWS = [(name, source) for name, path in modules('mobileode_mm') for source in imports(name, path)
          if source.split('.')[0] == 'mobileode_mm' and room(name) and room(source) and room(name) != room(source)]


def test_every_room_has_a_layer():
    rooms = {path.stem if path.is_file() else path.name for path in (ROOT / 'mobileode_mm').iterdir()
             if path.suffix == '.py' or (path / '__init__.py').is_file()}
    assert rooms - {'__init__'} == LEVEL.keys()


def test_arrows_point_down():
    assert len(ARROWS) > 50
    upward = [f'{name} imports {source}' for name, source in ARROWS if LEVEL[room(name)] <= LEVEL[room(source)]]
    assert not upward


def test_nothing_of_the_package_imports_what_measures_it():
    assert not [name for name, path in modules('mobileode_mm') for source in imports(name, path)
                if source.split('.')[0] == 'benchmarks']


def test_the_solver_stands_on_torch_alone():
    allowed = {'torch', 'triton', 'mobileode_mm'}
    foreign = {source for name, path in modules('mobileode_mm/ode') for source in imports(name, path)
               if source.split('.')[0] not in allowed | sys.stdlib_module_names}
    assert not foreign


@pytest.mark.parametrize('package', ['mobileode_mm', 'benchmarks'])
def test_no_circles(package):
    """Of modules; imports inside functions count."""
    files = dict(modules(package))
    arrows = {}
    for name, path in files.items():
        found = {source if source in files else source.rpartition('.')[0] for source in imports(name, path)}
        # Of the package that a module is in, only the folder's face.
        arrows[name] = {source for source in found if source in files and source != name
                        and not name.startswith(f'{source}.')}
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, ' -> '.join([*open_[open_.index(name):], name])
        if name not in done:
            open_.append(name)
            for source in sorted(arrows[name]):
                visit(source)
            open_.pop()
            done.add(name)

    for name in files:
        visit(name)


def test_the_page_names_every_folder_and_nothing_that_is_not_there():
    folders = {f'{path.name}/' for path in (ROOT / 'mobileode_mm').iterdir() if (path / '__init__.py').is_file()}
    assert folders <= set(re.findall(r'[a-z_]+/', PAGE))
    for name in re.findall(r'`([a-z_/]+/)`', PAGE):
        assert (ROOT / name).is_dir() or (ROOT / 'mobileode_mm' / name).is_dir(), name
    files = [path.as_posix() for top in ('mobileode_mm', 'benchmarks', 'tests', 'docs', 'tools', 'configs', 'mmodeconf')
             for path in (ROOT / top).rglob('*')] + [path.as_posix() for path in ROOT.iterdir()]
    for name in re.findall(r'`([a-z_/]+\.(?:py|md))`', PAGE):
        assert any(path.endswith(f'/{name}') for path in files), name
