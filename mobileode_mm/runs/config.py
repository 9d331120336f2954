"""Reading a config: messages that name the fault, and data roots that follow the user."""
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import ConfigParsingError
from mmengine.utils import import_modules_from_strings

from ..errors import InputError
from .options import resolve_options

DATA_VARIABLE = 'MOBILEODE_DATA'
_SUFFIXES = ('.py', '.json', '.yaml', '.yml')


def load_config(path: str | Path, cfg_options: dict | None = None) -> Config:
    """Read a config file, text style (``_base_``) or lazy (``read_base``), and resolve where its data lie.

    A data root is taken from ``cfg_options`` first, then from the environment variable ``MOBILEODE_DATA`` (it
    replaces the leading ``data/`` of every relative root), then from the file. The config's variables are
    long copied into its datasets and evaluators, so each of their strings that lies under a moved root moves
    too. A relative root means the current folder; where nothing is there, the checkout that this package runs
    from.

    Args:
        path: The config file.
        cfg_options: Dotted keys and values, merged last. ``data_root`` moves all data. A key that neither the config
            nor what it names knows needs a ``+`` before it.

    Raises:
        InputError: The file is absent (nearest names are listed), cannot be read, or an option does not fit.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(_not_found(path))
    if path.suffix not in _SUFFIXES:
        raise InputError(f'{path} is no config: its name must end in {", ".join(_SUFFIXES)}')
    try:
        cfg = Config.fromfile(path)
        # MMEngine does this itself for text configs only; a second time costs nothing.
        import_modules_from_strings(**(cfg.get('custom_imports') or dict(imports=[])))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f'cannot read the config {path}: {_explain(error, path)}') from error

    options = resolve_options(cfg, cfg_options or {})
    _move(cfg, {**_from_environment(cfg), **_from_option(cfg, options)})
    try:
        cfg.merge_from_dict(options)
    except Exception as error:
        raise InputError(f'--cfg-options does not fit the config {path}: {error}') from error
    _move(cfg, _from_checkout(cfg))
    return cfg


def use_steps(cfg: Config, steps: int | Sequence[int] | None) -> None:
    """Let the backbone of a network with ``anytime`` take so many steps outside of training.

    Args:
        cfg: The network's config.
        steps: One number, or one for each stage with solvers; None leaves what the config says.

    Raises:
        InputError: The network was not trained for it. That numbers are too few or too many is said where the network
            is built.
    """
    if steps is None:
        return
    anytime = ((cfg.get('model') or {}).get('backbone') or {}).get('anytime')
    if not anytime:
        raise InputError(f'--steps: the backbone of {cfg.filename} has one number of steps; only networks that '
                         'are trained with anytime=dict(steps=...) leave a choice')
    given = [steps] if isinstance(steps, int) else list(steps)
    if not {*given} <= {*anytime['steps']}:
        raise InputError(f'--steps {",".join(map(str, given))}: the network of {cfg.filename} was trained for '
                         f'{", ".join(map(str, anytime["steps"]))}')
    anytime['take'] = steps if isinstance(steps, int) else tuple(steps)


def checkout_root() -> Path | None:
    """Folder of the checkout that the package runs from; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / 'setup.py').is_file() and (root / 'configs').is_dir() else None


def data_roots(cfg: Config) -> list[str]:
    """Data roots that the config's own variable and its datasets name, each once."""
    roots = [cfg.get('data_root')]
    for key in _data_keys(cfg):
        _collect_roots(cfg[key], roots)
    return list(dict.fromkeys(root for root in roots if isinstance(root, str) and root))


def type_name(cfg) -> str:
    """Bare name of the ``type`` of a config (a name or a class), or of the class of an object."""
    kind = cfg.get('type', '') if isinstance(cfg, dict) else type(cfg)
    return (kind if isinstance(kind, str) else kind.__name__).rsplit('.', 1)[-1]


def most_boxes(cfg: Config) -> tuple[str, int | None]:
    """The key that says how many boxes a detector gives of an image, and the number; None where it does not say."""
    test_cfg = (cfg.get('model') or {}).get('test_cfg') or {}
    if test_cfg.get('tile'):
        from ..detection.tiling import MOST_BOXES  # mmdet's own parts come along
        return 'model.test_cfg.tile.max_per_img', test_cfg['tile'].get('max_per_img', MOST_BOXES)
    if test_cfg.get('rcnn'):
        return 'model.test_cfg.rcnn.max_per_img', test_cfg['rcnn'].get('max_per_img')
    return 'model.test_cfg.max_per_img', test_cfg.get('max_per_img')


def leaf_datasets(dataset: dict) -> list[dict]:
    """Configs of the datasets inside wrappers (RepeatDataset, ConcatDataset, ...)."""
    if 'datasets' in dataset:
        return [leaf for part in dataset['datasets'] for leaf in leaf_datasets(part)]
    return leaf_datasets(dataset['dataset']) if 'dataset' in dataset else [dataset]


def schedules(cfg: Config) -> list[tuple[str, dict]]:
    """Key and config of each schedule."""
    found = cfg.get('param_scheduler') or []
    many = isinstance(found, (list, tuple))
    return [('param_scheduler' + (f'.{number}' if many else ''), schedule)
            for number, schedule in enumerate(found if many else [found]) if isinstance(schedule, dict)]


def is_by_epoch(cfg: Config) -> bool:
    """Whether a training counts epochs, not iterations."""
    loop = cfg.get('train_cfg') or {}
    return loop.get('by_epoch', False) or type_name(loop) == 'EpochBasedTrainLoop'


def short_path(path: Path) -> str:
    """Relative to the current folder where it lies below, else absolute."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith('..') else relative


def _not_found(path: Path) -> str:
    if path.is_dir():
        return f'{path} is a folder; name one config file in it, for example {_example(path)}'
    folders = [(path.parent, '*.py'), (Path('configs'), '**/*.py')]
    if checkout_root():
        folders.append((checkout_root() / 'configs', '**/*.py'))
    found = {file.resolve() for folder, pattern in folders if folder.is_dir() for file in folder.glob(pattern)}
    nearest = difflib.get_close_matches(path.stem, sorted({file.stem for file in found}), n=4, cutoff=0.5)
    names = [short_path(file) for stem in nearest for file in sorted(found) if file.stem == stem]
    hint = f'; nearest names: {", ".join(names)}' if names else ''
    return f'there is no config {path}{hint}'


def _example(folder: Path) -> str:
    return next((str(file) for file in sorted(folder.glob('*.py'))), f'{folder}/<name>.py')


def _explain(error: Exception, path: Path) -> str:
    """One line on what is wrong, with the place in the config file where it is known."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f'line {error.lineno}: {error.msg}'
    if isinstance(error, ImportError) and error.__cause__ is not None:
        return f'custom_imports failed: {error.__cause__}'
    place = ''
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_name == '<module>' and code.co_filename.endswith('.py'):
            file = '' if os.path.realpath(code.co_filename) == str(path.resolve()) else f'{code.co_filename} '
            place = f'{file}line {traceback.tb_lineno}: '
        traceback = traceback.tb_next
    name = '' if isinstance(error, (SyntaxError, OSError, ConfigParsingError)) else f'{type(error).__name__}: '
    return f'{place}{name}{error}'


def _data_keys(cfg: Config) -> list[str]:
    return [key for key in cfg if key.endswith(('_dataloader', '_evaluator')) and cfg[key] is not None]


def _collect_roots(node, roots: list) -> None:
    if isinstance(node, dict):
        roots.append(dict.get(node, 'data_root'))
        node = dict.values(node)  # not ConfigDict's, which would import every type that a lazy config names
    elif not isinstance(node, (list, tuple)):
        return
    for value in node:
        _collect_roots(value, roots)


def _from_option(cfg: Config, options: dict) -> dict[str, str]:
    if 'data_root' not in options:
        return {}
    new = options['data_root']
    if not isinstance(new, str) or not new:
        raise InputError(f'--cfg-options data_root={new}: a folder is wanted')
    options['data_root'] = new = os.path.expanduser(new)
    old = cfg.get('data_root')
    if old is None:
        roots = data_roots(cfg)
        if len(roots) != 1:
            raise InputError(
                f'--cfg-options data_root={new} has nothing to replace: {cfg.filename} has no variable data_root, and '
                f'its datasets name {", ".join(roots) or "no root"}. Set each by its full key, as in '
                f'train_dataloader.dataset.data_root={new}')
        old = roots[0]
    return {old: new}


def _from_environment(cfg: Config) -> dict[str, str]:
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return {}
    folder = os.path.expanduser(folder)
    relative = {root: os.path.normpath(root) for root in data_roots(cfg)}
    return {root: os.path.join(folder, normal[len('data/'):])
            for root, normal in relative.items() if normal == 'data' or normal.startswith('data/')}


def _from_checkout(cfg: Config) -> dict[str, str]:
    checkout = checkout_root()
    if checkout is None:
        return {}
    return {root: str(checkout / root) for root in data_roots(cfg)
            if not os.path.isabs(root) and not os.path.exists(root) and (checkout / root).exists()}


def _move(cfg: Config, moves: dict[str, str]) -> None:
    if not moves:
        return
    # The longest first: of 'data/' and 'data/mini/' the second says more about 'data/mini/coco'.
    moves = {old.rstrip('/'): new.rstrip('/') for old, new in sorted(moves.items(), key=lambda item: -len(item[0]))}
    seen = set()
    for key in ('data_root', *_data_keys(cfg)):
        if key in cfg:
            cfg[key] = _moved(cfg[key], moves, seen)


def _moved(node, moves: dict[str, str], seen: set):
    if isinstance(node, str):
        for old, new in moves.items():
            if node == old or node.startswith(f'{old}/'):
                return new + node[len(old):]
    elif isinstance(node, (dict, list)):
        # val_evaluator and test_evaluator may be one and the same dict.
        if id(node) not in seen:
            seen.add(id(node))
            for key, value in list(dict.items(node) if isinstance(node, dict) else enumerate(node)):
                node[key] = _moved(value, moves, seen)
    elif isinstance(node, tuple):
        return type(node)(_moved(value, moves, seen) for value in node)
    return node
