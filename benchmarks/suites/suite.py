"""Suite files: which networks are trained on which tasks, how, and with which seeds."""
import ast
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS

from mobileode_mm.backbones.timm_features import NoSuchMapsError, choose_maps
from mobileode_mm.errors import InputError, listed
from mobileode_mm.runs.config import checkout_root, short_path

FOLDER = Path(__file__).parent / 'configs'

_SUITE_KEYS = {'tasks', 'backbones', 'seeds', 'reference', 'mini_data', 'tree_data'}
_TASK_KEYS = {'configs', 'input_size', 'metrics', 'epochs', 'val_interval', 'cfg_options', 'starts_from'}
_BACKBONE_KEYS = {'config', 'input_size', 'cfg_options'}
#: Before the name of a network of timm; the config whose backbone it replaces.
_TIMM, _REPLACED = 'timm.', 'mobileode'


@dataclass(frozen=True)
class Network:
    """A backbone in a task.

    Attributes:
        task, backbone: Names, as the tables show them.
        config: Config file.
        cfg_options: Dotted keys and values that replace the file's.
        input_size: Height and width that parameters, multiply-adds and latency are measured for.
        metrics: Names of the metrics that the tables show, the one for the charts first.
        starts_from: Task whose run with the same backbone and seed leaves the weights that the backbone starts from.
    """
    task: str
    backbone: str
    config: Path
    cfg_options: dict
    input_size: tuple[int, int]
    metrics: tuple[str, ...]
    starts_from: str | None = None

    @property
    def slug(self) -> str:
        """Folder of its runs."""
        return '/'.join(re.sub(r'[^a-z0-9.]+', '_', name.lower()).strip('_') for name in (self.task, self.backbone))


@dataclass(frozen=True)
class Suite:
    """What a suite file says.

    Attributes:
        name: Of the file, without its suffix.
        description: The file's docstring.
        networks: Every backbone in every task.
        seeds: One run of each network for each.
        mini_data, tree_data: Whether these data, which the suite reads, are made where they are absent.
        reference: Backbone that the others are compared with.
        left_out: Task, backbone and reason where a network of timm has no maps for the task.
    """
    name: str
    description: str
    networks: tuple[Network, ...]
    seeds: tuple[int, ...]
    mini_data: bool
    tree_data: bool = False
    reference: str | None = None
    left_out: tuple[tuple[str, str, str], ...] = ()


def suite_names() -> dict[str, str]:
    """Suites that come with the package: name and first line of the description."""
    return {path.stem: _description(path).split('\n')[0] for path in sorted(FOLDER.glob('*.py'))
            if path.stem != '__init__'}


def load_suite(suite: str | Path) -> Suite:
    """Read a suite by its name, or from a file.

    A suite file is a config in MMEngine's text style (``_base_`` works)::

        tasks = dict(
            classification=dict(configs='configs/classify_{}_mini.py', input_size=(64, 64), metrics=['accuracy/top1']),
            detection=dict(starts_from='classification', configs='configs/ssdlite_{}_mini.py', input_size=(192, 192),
                           metrics=['coco/bbox_mAP'], epochs=3, cfg_options={'train_dataloader.batch_size': 8}))
        backbones = {'MobileODE V1': dict(config='mobileode'), ...}
        seeds = [0, 1, 2]

    A backbone's ``config`` takes the place of ``{}`` in the task's ``configs``; its ``cfg_options``, and those under
    the name of a task, come after the task's. ``config='timm.NAME'`` is the config of ``mobileode`` with timm's network
    in the place of the backbone, with maps of the same strides; a task for which the network has none is left out.
    ``epochs`` is another length of the training: the learning rate's schedule shrinks or grows with it, and the only
    validation is at its end, or one comes every ``val_interval`` epochs. A task that ``starts_from`` another gives
    each of its networks the backbone that the other's run with the same seed left. ``reference`` names the backbone
    that the others are compared with. Configs are looked for from the
    suite file's folder, from the current folder and in the checkout that the package runs from: in the folder that
    ``configs`` names, then one below it (``configs/peers``).

    Raises:
        InputError: There is no such suite, or it does not say what is wanted, or names a config that does not exist.
    """
    path = Path(suite).expanduser()
    if path.suffix != '.py':
        path = FOLDER / f'{suite}.py'
    if not path.is_file() or path.stem == '__init__':
        raise InputError(f'there is no suite {suite}. There are {listed(suite_names(), 99)}; a suite of your own is '
                         'named by its file, as in my_suite.py')
    try:
        cfg = Config.fromfile(path, import_custom_modules=False).to_dict()
    except Exception as error:
        raise InputError(f'cannot read the suite {path}: {error}') from error
    _check_keys(cfg, _SUITE_KEYS, {'tasks', 'backbones', 'seeds'}, path)
    tasks, backbones, seeds = cfg['tasks'], cfg['backbones'], cfg['seeds']
    _check(isinstance(tasks, dict) and tasks and isinstance(backbones, dict) and backbones,
           path, 'tasks and backbones are to be dicts with an entry for each')
    _check(isinstance(seeds, (list, tuple)) and seeds and all(isinstance(seed, int) for seed in seeds)
           and len(set(seeds)) == len(seeds), path, f'seeds is {seeds!r}: different whole numbers are wanted')
    for number, (name, task) in enumerate(tasks.items()):
        _check_keys(task, _TASK_KEYS, {'configs', 'input_size', 'metrics'}, path, f'the task {name}')
        earlier, base = list(tasks)[:number], task.get('starts_from')
        _check(base is None or base in earlier, path, f'the task {name} starts from {base!r}: a task above it is '
               f'wanted, of which there {"are " + listed(earlier, 99) if earlier else "is none"}')
    for name, backbone in backbones.items():
        _check_keys(backbone, _BACKBONE_KEYS | set(tasks), {'config'}, path, f'the backbone {name}')
    reference = cfg.get('reference')
    _check(reference is None or reference in backbones, path, f'reference is {reference!r}, which is none of the '
           f'backbones {listed(backbones, 99)}')
    made, left_out = [], []
    for task in tasks.items():
        for backbone in backbones.items():
            try:
                made.append(_network(path, *task, *backbone))
            except NoSuchMapsError as error:
                left_out.append((task[0], backbone[0], str(error)))
    _check(bool(made), path, f'nothing is left of it: {listed((reason for *_, reason in left_out), 99)}')
    networks = tuple(made)
    _check(len({network.slug for network in networks}) == len(networks), path,
           'two tasks or backbones differ in signs and capitals only')
    return Suite(path.stem, _description(path), networks, tuple(seeds), cfg.get('mini_data', False),
                 cfg.get('tree_data', False), reference, tuple(left_out))


def _network(path: Path, task: str, settings: dict, backbone: str, how: dict) -> Network:
    of_timm = how['config'].startswith(_TIMM)
    config = _find_config(path, settings['configs'], _REPLACED if of_timm else how['config'], backbone)
    options = {**_schedule(path, config, settings.get('epochs'), settings.get('val_interval')),
               **settings.get('cfg_options', {}),
               **(_timm_backbone(config, how['config'].removeprefix(_TIMM)) if of_timm else {}),
               **how.get('cfg_options', {}), **how.get(task, {})}
    size = how.get('input_size', settings['input_size'])
    _check(isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(side, int) for side in size), path,
           f'input_size is {size!r}: height and width are wanted')
    return Network(task, backbone, config, options, tuple(size), tuple(settings['metrics']),
                   settings.get('starts_from'))


def _timm_backbone(config: Path, name: str) -> dict:
    """Options that put a network of timm in the place of a config's backbone.

    Raises:
        InputError: timm is absent or has no such network.
        NoSuchMapsError: The network has no maps of the strides of those of the config's backbone.
    """
    strides = _strides(config)
    wanted = strides if len(strides) > 1 else None  # a classifier's network is taken whole, whatever its last stride
    choose_maps(name, wanted)
    return {'model.backbone': dict(_delete_=True, type='TimmFeatures', name=name, strides=wanted)}


@functools.lru_cache(maxsize=16)
def _strides(config: Path) -> tuple[int, ...]:
    """Of the maps of a config's backbone, which is one of ours."""
    return MODELS.build(Config.fromfile(config, import_custom_modules=False).model.backbone).strides


def _schedule(path: Path, config: Path, epochs: int | None, val_interval: int | None) -> dict:
    """Options that make the training that many epochs long; those of the learning rate that end with it still do."""
    every = {} if val_interval is None else {'train_cfg.val_interval': val_interval}
    _check(val_interval is None or isinstance(val_interval, int) and val_interval > 0, path,
           f'val_interval is {val_interval!r}: a whole number above 0 is wanted')
    if epochs is None:
        return every
    _check(isinstance(epochs, int) and epochs > 0, path, f'epochs is {epochs!r}: a whole number above 0 is wanted')
    cfg = Config.fromfile(config, import_custom_modules=False)
    length = cfg.get('train_cfg', {}).get('max_epochs')
    _check(length is not None, path, f'epochs is {epochs}, and {short_path(config)} has no train_cfg.max_epochs')
    options = {'train_cfg.max_epochs': epochs, 'train_cfg.val_interval': epochs, **every}
    rate = f'the learning rate of {short_path(config)}'
    for number, scheduler in enumerate(cfg.get('param_scheduler') or []):
        _check('milestones' not in scheduler, path,
               f'epochs is {epochs}, and {rate} has milestones for {length} epochs')
        if not scheduler.get('by_epoch', True):
            continue
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        _check(begin < epochs, path, f'epochs is {epochs}, and a part of {rate} begins after {begin}')
        _check(end in (None, length) or end <= epochs, path,
               f'epochs is {epochs}, and a part of {rate} ends after {end}')
        if end == length:
            options[f'param_scheduler.{number}.end'] = epochs
        # A cosine is as long as the training, or as what is left of it after the warm-up.
        if scheduler.get('T_max') in (length, length - begin):
            options[f'param_scheduler.{number}.T_max'] = scheduler.T_max + epochs - length
    return options


def _find_config(path: Path, pattern: str, name: str, backbone: str) -> Path:
    folders = list(dict.fromkeys(folder for folder in (path.parent, Path.cwd(), checkout_root()) if folder))
    for folder in folders:
        for file in _matching(folder / pattern.replace('{}', name)):
            return file
    # The part that stands for the backbone, of every config that there is; mini twins are not other backbones.
    before, _, after = Path(pattern).name.partition('{}')
    found = {file.name[len(before):-len(after)] for folder in folders
             for file in _matching(folder / pattern.replace('{}', '*'))}
    raise InputError(
        f'the suite {path.stem} wants {pattern.replace("{}", name)} for the backbone {backbone}, and there is none. '
        + (f'Backbones with such a config: {listed(sorted(found), 99)}' if found else
           f'It was looked for from {", ".join(map(str, folders))}: start the suite from the checkout of the project'))


def _matching(path: Path) -> list[Path]:
    """Files of that name, which may have wildcards, in the path's folder, then one folder below it."""
    return [*sorted(path.parent.glob(path.name)), *sorted(path.parent.glob(f'*/{path.name}'))]


def _check_keys(part, known: set, wanted: set, path: Path, where: str = 'the suite') -> None:
    _check(isinstance(part, Mapping), path, f'{where} is to be a dict')
    unknown = [key for key in part if key not in known]
    _check(not unknown, path, f'{where} has {listed(unknown)}; known are {listed(sorted(known), 99)}')
    missing = [key for key in sorted(wanted) if key not in part]
    _check(not missing, path, f'{where} has no {", no ".join(missing)}')


def _check(holds: bool, path: Path, otherwise: str) -> None:
    if not holds:
        raise InputError(f'{short_path(path)} is no suite: {otherwise}')


def _description(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ''
