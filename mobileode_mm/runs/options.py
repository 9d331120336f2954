"""Keys must mean something: those of ``--cfg-options``, whose copies follow the variable that they were made from, and
those of a config file that would be missed."""
import ast
import difflib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmengine import registry
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..errors import InputError, listed

#: Before a key, it says that the config need not have it: ``--cfg-new KEY=VALUE`` is ``--cfg-options +KEY=VALUE``.
NEW = '+'
#: What the Runner, or this package, reads of a config besides the Runner's own arguments.
_READ = {'activation_checkpointing', 'compile', 'custom_imports', 'data_root', 'efficient_conv_bn_eval',
         'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn', 'tta_model',
         'tta_pipeline'}
_REGISTRIES = ('MODELS', 'DATASETS', 'TRANSFORMS', 'HOOKS', 'METRICS', 'EVALUATOR', 'OPTIMIZERS', 'OPTIM_WRAPPERS',
               'OPTIM_WRAPPER_CONSTRUCTORS', 'PARAM_SCHEDULERS', 'DATA_SAMPLERS', 'LOOPS', 'VISUALIZERS', 'VISBACKENDS',
               'LOG_PROCESSORS', 'TASK_UTILS', 'RUNNERS')
#: What the toolboxes called settings before MMEngine, and what took their places.
_BEFORE = {
    'data': 'train_dataloader, val_dataloader and test_dataloader', 'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper', 'fp16': "optim_wrapper.type='AmpOptimWrapper', or --amp",
    'lr_config': 'param_scheduler', 'runner': 'train_cfg', 'total_epochs': 'train_cfg.max_epochs',
    'evaluation': 'val_evaluator and train_cfg.val_interval', 'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger and visualizer', 'workflow': 'train_cfg.val_interval'}
_PARAMWISE, _CLIP_GRAD = 'optim_wrapper.paramwise_cfg', 'optim_wrapper.clip_grad'


def _parameters(*kinds) -> set[str]:
    """Names that may be given to functions, and to classes and those that they inherit from."""
    names: set[str] = set()
    for kind in kinds:
        for one in (kind.__mro__[:-1] if isinstance(kind, type) else [kind]):
            function = vars(one).get('__init__') if isinstance(one, type) else one
            if callable(function):
                names |= {name for name, parameter in inspect.signature(function).parameters.items()
                          if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)} - {'self'}
    return names


#: Sections that need no type, and the keys that they know; None where what reads them refuses what it does not know.
_SECTIONS: dict[str, set[str] | None] = {
    **{f'{split}_dataloader': _parameters(DataLoader) for split in ('train', 'val', 'test')},
    'train_cfg': {'by_epoch', 'type'} | _parameters(EpochBasedTrainLoop, IterBasedTrainLoop),
    'val_cfg': {'type', 'fp16'},
    'test_cfg': {'type', 'fp16'},
    'optim_wrapper': {'type', 'optimizer', 'paramwise_cfg', 'constructor', 'clip_grad', 'accumulative_counts',
                      'loss_scale', 'dtype', 'use_fsdp'},
    _CLIP_GRAD: {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'},
    _PARAMWISE: {'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'flat_decay_mult',
                 'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate'},
    f'{_PARAMWISE}.custom_keys': None,
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'randomness': _parameters(Runner.set_randomness),
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'default_hooks': {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint',
                      'visualization'},
    'compile': None,
}


def resolve_options(cfg: Config, options: dict) -> dict:
    """Options whose keys the config has, or which something in it takes; those on a variable with its copies.

    MMEngine merges whatever it is given: a misspelled key would change nothing, and so would a variable of the config
    file (``train_pipeline``, ``batch_size``), whose value is long copied to where it is used.

    Args:
        cfg: The config as its file has it.
        options: Dotted keys and values. A key after ``+`` need not be known.

    Raises:
        InputError: A key is in no place of the config, nor an argument of what is there; or it is a variable whose
            copies cannot be told from other values.
    """
    resolved = {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for key, value in options.items():
            if key.startswith(NEW):
                resolved[key.removeprefix(NEW)] = value
                continue
            _require_known(cfg, key, options)
            for path in _copies(cfg, key):
                resolved.setdefault(path, value)
            resolved[key] = value
    return resolved


def check_keys(cfg: Config) -> None:
    """InputError where a config has a key that MMEngine takes, and then misses or refuses only in the run.

    These are arguments of hooks that hand on what they do not know, and what the optimizer's wrapper reads late. Other
    misspelled arguments are refused where their objects are built.

    Args:
        cfg: The config; to be called in its scope.
    """
    wrapper = cfg.optim_wrapper
    judged = [(f'optim_wrapper.{name}', wrapper.get(name), set()) for name in ('clip_grad', 'paramwise_cfg')]
    judged += [(here, hook, {'type', 'priority'}) for here, hook in hooks(cfg)
               if any(map(_hands_on, classes_of(hook.get('type'))))]
    for here, section, always in judged:
        known = _known(cfg, section, here.split('.'), {}) if isinstance(section, dict) else None
        for name in section if known is not None else ():
            if name not in known | always and not name.startswith('_'):
                near = difflib.get_close_matches(name, known)
                hint = f'nearest: {listed(near)}' if near else f'it takes {listed(sorted(known), 20)}'
                raise InputError(f'{here} of {_name(cfg)} has a key {name}, which means nothing there; {hint}')


def unread_variables(file: str) -> list[str]:
    """What a config file sets and no run reads, in a sentence each: settings that the toolboxes had before MMEngine,
    and pipelines and other parts of which no section has a copy.

    A variable that is set anew does not change what the ``_base_`` made of it. Those that the ``_base_`` sets may well
    have nothing left that they are in.

    Args:
        file: The config's, as options may change the copies.
    """
    cfg = Config.fromfile(file)
    values = [value for _, value in _values(cfg, '')]
    read, found = _read(), []
    for name in sorted(_assigned(file) - read):
        value = cfg.get(name)
        parts = value if isinstance(value, (list, tuple)) else [value]
        if any(value == other or _holds(other, parts) for other in values):
            continue
        near = difflib.get_close_matches(name, read, n=1, cutoff=0.85)
        if name in _BEFORE:
            found.append(f'{name} of {file} changes nothing: its place is {_BEFORE[name]} now')
        elif parts and all(isinstance(part, dict) and 'type' in part for part in parts):
            found.append(f'{name} of {file} changes nothing: no section has a copy of this variable')
        elif near:
            found.append(f'{name} of {file} changes nothing; nearest: {near[0]}')
    return found


def _holds(value, parts: Sequence) -> bool:
    """Whether a list has these parts one after another, as ``[*load, *augment]`` has those of ``augment``."""
    return isinstance(value, (list, tuple)) and any(
        list(value[start:start + len(parts)]) == list(parts) for start in range(len(value) - len(parts) + 1))


def _assigned(file: str) -> set[str]:
    """Variables that a config file sets itself; none of a file that is no Python."""
    if not file.endswith('.py'):
        return set()
    body = ast.parse(Path(file).read_text(encoding='utf-8')).body
    return {target.id for node in body if isinstance(node, ast.Assign) for target in node.targets
            if isinstance(target, ast.Name)}


def hooks(cfg: Config) -> list[tuple[str, dict]]:
    """Key and config of each hook."""
    found = [(f'default_hooks.{name}', hook) for name, hook in (cfg.get('default_hooks') or {}).items()]
    found += [(f'custom_hooks.{number}', hook) for number, hook in enumerate(cfg.get('custom_hooks') or [])]
    return [(key, hook) for key, hook in found if isinstance(hook, dict)]


def unmatched_keys(cfg: Config, names: Iterable[str]) -> list[str]:
    """Those ``custom_keys`` of the optimizer's wrapper that are in no parameter's name.

    Args:
        cfg: The config; to be called in its scope.
        names: Of all parameters of the network.
    """
    names = list(names)
    keys = (cfg.optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    return [key for key in keys if not any(key in name for name in names)] if _has_default_constructor(cfg, {}) else []


def _require_known(cfg: Config, key: str, options: dict) -> None:
    node, path = cfg._cfg_dict, []
    for part in key.split('.'):
        if isinstance(node, (list, tuple)):
            if not part.isdecimal() or int(part) >= len(node):
                return  # MMEngine says how long the list is
            node = node[int(part)]
        elif not isinstance(node, dict) or part.startswith('_'):
            return  # MMEngine says that this is no section; _delete_ is its own
        elif dict.__contains__(node, part):
            node = dict.__getitem__(node, part)
        else:
            known = _known(cfg, node, path, options)
            if known is None:
                return
            here = '.'.join(path)
            wanted = '.'.join([*path, part])
            if part in known:
                if wanted not in _SECTIONS:
                    return
                node = {}  # a section that the option makes
            else:
                names = sorted({*dict.keys(node), *known})
                near = difflib.get_close_matches(part, names) or [
                    place for place in _sections(cfg) if place.rsplit('.', 1)[-1] == part
                ] or difflib.get_close_matches(wanted, _sections(cfg))
                hint = (f'nearest: {listed(".".join([*path, name]) if name in names else name for name in near)}'
                        if near else f'{here or "the config"} has {listed(names, 20)}')
                raise InputError(f'--cfg-options {key}: there is no {wanted} in {_name(cfg)}; {hint}. To add it all '
                                 f'the same: --cfg-new {key}=...')
        path.append(part)


def _known(cfg: Config, node: dict, path: list[str], options: dict) -> set[str] | None:
    """Keys that a section takes besides those that it has; None for all."""
    here = '.'.join(path)
    if not path:
        return _read() - {'self', 'cfg'}
    if here in _SECTIONS:
        known = _SECTIONS[here]
        if known is None or here == _PARAMWISE and not _has_default_constructor(cfg, options):
            return None
        if here == _CLIP_GRAD:  # whose type is no class
            return known if _is_mmengines(_of_wrapper(cfg, options, 'type', 'OptimWrapper')) else None
    else:
        known = set()
    return known | _taken({**node, **{name: options[f'{here}.{name}'] for name in ('type', 'ema_type')
                                      if f'{here}.{name}' in options}})


def _has_default_constructor(cfg: Config, options: dict) -> bool:
    """Whether it is MMEngine's own constructor that reads ``paramwise_cfg``."""
    constructor = _of_wrapper(cfg, options, 'constructor', None)
    return constructor is None or DefaultOptimWrapperConstructor in classes_of(constructor)


def _of_wrapper(cfg: Config, options: dict, name: str, default: str | None):
    """A setting of ``optim_wrapper``, with the options."""
    return options.get(f'optim_wrapper.{name}', (cfg.get('optim_wrapper') or {}).get(name, default))


def _is_mmengines(kind) -> bool:
    return any(found.__module__.startswith('mmengine.') for found in classes_of(kind))


def _hands_on(kind) -> bool:
    """Whether it is a hook that hands on, to where they are known, arguments that it does not know; another's may read
    them itself."""
    return isinstance(kind, type) and issubclass(kind, (CheckpointHook, EMAHook)) and kind.__module__.startswith(
        ('mmengine.', 'mmpretrain.'))


def _taken(node: dict) -> set[str]:
    """Arguments of a section's type: an EMAHook hands those that it does not know to the averaged weights."""
    kinds = [*classes_of(node.get('type'))]
    averages = [average for kind in kinds if isinstance(kind, type) and issubclass(kind, EMAHook)
                for average in classes_of(node.get('ema_type', 'ExponentialMovingAverage'))]
    return _parameters(*kinds) | _parameters(*averages) - {'model'}


def classes_of(kind) -> Iterator:
    """What a type may mean: the class itself, or all that registries know under its name."""
    if not isinstance(kind, str):
        if callable(kind):
            yield kind
        return
    for name in _REGISTRIES:
        with getattr(registry, name).switch_scope_and_registry(None) as scoped:
            found = scoped.get(kind)
        if found is not None:
            yield found


def _copies(cfg: Config, key: str) -> list[str]:
    """The places of the config that hold the value of a variable of its file, as the keys that change them."""
    name, _, rest = key.partition('.')
    if name == 'data_root' or name in _read() or name not in cfg:
        return []
    value = cfg._cfg_dict[name]
    places = [path for path, found in _values(cfg, name) if type(found) is type(value) and found == value]
    if isinstance(value, (dict, list, tuple)) and value:
        if not places:
            raise InputError(f'--cfg-options {key}: {name} is a variable of {_name(cfg)}, and nothing in the config is '
                             f'a copy of it; set the key where the value is used, or say --cfg-new {key}=...')
        return [f'{path}.{rest}' if rest else path for path in places]
    same = [path for path in places if path.rsplit('.', 1)[-1] == name] or places
    where = (f'its value is copied. Set it where it is used: {listed(f"{path}=..." for path in same)}' if same
             else 'nothing in the config has its value')
    raise InputError(f'--cfg-options {key}: {name} is a variable of {_name(cfg)}; {where}. To set the variable alone: '
                     f'--cfg-new {key}=...')


def _values(cfg: Config, without: str) -> Iterator[tuple[str, object]]:
    """Path and value of everything in the sections that a run reads."""
    read = _read()

    def walk(node, path: str) -> Iterator[tuple[str, object]]:
        yield path, node
        pairs = dict.items(node) if isinstance(node, dict) else (
            enumerate(node) if isinstance(node, (list, tuple)) else ())
        for key, value in pairs:
            yield from walk(value, f'{path}.{key}')

    for key in cfg:
        if key in read and key != without:
            yield from walk(cfg._cfg_dict[key], key)


def _read() -> set[str]:
    """Keys of a config that a run reads."""
    return set(inspect.signature(Runner.__init__).parameters) | _READ


def _sections(cfg: Config) -> list[str]:
    return [path for path, _ in _values(cfg, '')]


def _name(cfg: Config) -> str:
    return cfg.filename or 'the config'
