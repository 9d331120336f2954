"""``--cfg-options``: each key must mean something, and copies follow the variable that they were made from."""
import difflib
import inspect
from collections.abc import Iterator

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..errors import InputError, listed

#: Before a key, it says that the config need not have it: ``--cfg-new KEY=VALUE`` is ``--cfg-options +KEY=VALUE``.
NEW = '+'
#: What the Runner, or this package, reads of a config besides the Runner's own arguments.
_READ = {'activation_checkpointing', 'compile', 'custom_imports', 'data_root', 'efficient_conv_bn_eval',
         'find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'sync_bn', 'tta_model', 'tta_pipeline'}
_REGISTRIES = ('MODELS', 'DATASETS', 'TRANSFORMS', 'HOOKS', 'METRICS', 'EVALUATOR', 'OPTIMIZERS', 'OPTIM_WRAPPERS',
               'OPTIM_WRAPPER_CONSTRUCTORS', 'PARAM_SCHEDULERS', 'DATA_SAMPLERS', 'LOOPS', 'VISUALIZERS', 'VISBACKENDS',
               'LOG_PROCESSORS', 'TASK_UTILS', 'RUNNERS')


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
    'optim_wrapper.clip_grad': {'type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'clip_value'},
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
            known = _known(node, path, options)
            if known is None or part in known:
                return
            here = '.'.join(path)
            wanted = '.'.join([*path, part])
            names = sorted({*dict.keys(node), *known})
            near = difflib.get_close_matches(part, names) or [
                place for place in _sections(cfg) if place.rsplit('.', 1)[-1] == part] or difflib.get_close_matches(
                wanted, _sections(cfg))
            hint = (f'nearest: {listed(".".join([*path, name]) if name in names else name for name in near)}' if near
                    else f'{here or "the config"} has {listed(names, 20)}')
            raise InputError(f'--cfg-options {key}: there is no {wanted} in {_name(cfg)}; {hint}. To add it all the '
                             f'same: --cfg-new {key}=...')
        path.append(part)


def _known(node: dict, path: list[str], options: dict) -> set[str] | None:
    """Keys that a section takes besides those that it has; None for all."""
    here = '.'.join(path)
    if not path:
        return set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | _READ
    if here in _SECTIONS:
        known = _SECTIONS[here]
        if known is None:
            return None
    else:
        known = set()
    kind = options.get(f'{here}.type', dict.get(node, 'type'))
    return known | _parameters(*classes_of(kind))


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
    if name == 'data_root' or name in set(inspect.signature(Runner.__init__).parameters) | _READ or name not in cfg:
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
    read = set(inspect.signature(Runner.__init__).parameters) | _READ

    def walk(node, path: str) -> Iterator[tuple[str, object]]:
        yield path, node
        pairs = dict.items(node) if isinstance(node, dict) else (
            enumerate(node) if isinstance(node, (list, tuple)) else ())
        for key, value in pairs:
            yield from walk(value, f'{path}.{key}')

    for key in cfg:
        if key in read and key != without:
            yield from walk(cfg._cfg_dict[key], key)


def _sections(cfg: Config) -> list[str]:
    return [path for path, _ in _values(cfg, '')]


def _name(cfg: Config) -> str:
    return cfg.filename or 'the config'
