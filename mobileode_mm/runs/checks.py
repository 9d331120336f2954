"""Checks before a Runner is built: what cannot work is said in seconds, not after them."""
import difflib
import importlib
import os
import re
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, OPTIMIZERS, RUNNERS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from ..checkpoints.matching import check_checkpoint, check_pretrained
from ..checkpoints.reading import read_checkpoint
from ..engine.compiling import compile_options
from ..errors import InputError, listed
from .config import is_by_epoch, schedules, type_name
from .consistency.checking import check_data
from .monitors import check_monitors, unused_monitors
from .options import check_keys, unmatched_keys, unread_variables

#: Methods in which data sets read their files.
_READING = ('load_data_list', 'parse_data_info', 'filter_data')
_TOOLBOXES = ('mmdet', 'mmseg', 'mmpretrain')


class Checked(NamedTuple):
    """What :func:`check_run` found.

    Attributes:
        checkpoint: The checkpoint that the run loads, if any.
        notes: Lines for the log on what is no error.
        warnings: Doubtful things in the config and in the data.
    """
    checkpoint: dict | None
    notes: list[str]
    warnings: list[str]


def check_run(cfg: Config, splits: tuple[str, ...], path: str | None, purpose: str, trust: bool = False) -> Checked:
    """Check work dir, numbers, network, checkpoint and data of a run, in the order of what they cost.

    Args:
        cfg: The config with all flags applied.
        splits: Those of train, val and test that the run reads.
        path: The checkpoint it loads, if any.
        purpose: What for: ``'finetune'``, ``'test'`` or ``'resume'``.
        trust: As for :func:`mobileode_mm.checkpoints.reading.read_checkpoint`.

    Raises:
        InputError: The run could not start, or not end well.
    """
    check_writable(cfg.work_dir, 'work dir', '--work-dir')
    _check_numbers(cfg, splits)
    _check_samplers(cfg, splits)
    compile_options(cfg.get('compile'))
    with config_scope(cfg):
        if 'train' in splits:
            check_settings(cfg)
            _check_validation(cfg)
        model = build_model(cfg)
        checkpoint = read_checkpoint(path, trust) if path else None
        warnings = []
        if 'train' in splits:
            warnings += unread_variables(cfg.filename) if cfg.filename else []
            warnings += _numbers_that_stop_learning(cfg)
            unmatched = unmatched_keys(cfg, (name for name, _ in model.named_parameters(remove_duplicate=False)))
            if unmatched:
                warnings.append(f'optim_wrapper.paramwise_cfg.custom_keys: no parameter has {listed(unmatched)} in its '
                                'name, and nothing follows from it')
            unused = unused_monitors(cfg)
            if unused:
                warnings.append(f'{listed(unused)}: there is no validation (val_cfg is None), and nothing follows')
        notes = [] if purpose == 'test' else check_pretrained(model, trust)
        if path:
            notes += check_checkpoint(model, checkpoint, path, purpose)
        trained = None
        if checkpoint is not None and purpose != 'finetune':
            meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
            trained = meta.get('classes') or meta.get('CLASSES')  # older checkpoints of mmdet have it in capitals
        report = check_data(cfg, splits, head_classes(model), model, trained)
    if report.problems:
        raise InputError(report.refusal())
    return Checked(checkpoint, notes, warnings + [note.text(most=5) for note in report.notes])


def check_parts(cfg: Config, split: str) -> None:
    """InputError where a config lacks what a Runner needs to train, or to test, or names a runner of another kind."""
    keys = ('dataloader', 'cfg') if split == 'train' else ('dataloader', 'cfg', 'evaluator')
    keys = [f'{split}_{key}' for key in keys] + ['model'] + ['optim_wrapper'] * (split == 'train')
    missing = [key for key in keys if cfg.get(key) is None]
    if missing:
        raise InputError(f'{cfg.filename} has no {", no ".join(missing)}')
    runner = cfg.get('runner_type', Runner)
    runner = RUNNERS.get(runner) if isinstance(runner, str) else runner
    if runner is not None and not issubclass(runner, Runner):  # MMEngine's FlexibleRunner
        raise InputError(f'{cfg.filename}: runner_type is {cfg.runner_type}, whose strategy builds network and '
                         'optimizer where nothing here can check them; remove runner_type and strategy')


def check_writable(folder: str, what: str, flag: str) -> None:
    """InputError unless files can be written in a folder, or the folder made where it does not exist."""
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(2**16))  # a full disk still makes empty files
    except OSError as error:
        raise InputError(f'the {what} {folder} cannot be written ({error.strerror or error}: {existing}); choose '
                         f'another with {flag}') from error


@contextmanager
def config_scope(cfg: Config) -> Iterator[None]:
    """Find types as the Runner will: in the toolbox that ``default_scope`` names. A toolbox that is needed is
    imported."""
    scope = cfg.get('default_scope')
    if scope in _TOOLBOXES:
        try:
            importlib.import_module(f'{scope}.models')
        except ImportError as error:
            raise InputError(f'{cfg.filename} needs {scope}, which cannot be imported ({error}); '
                             '`mobileode doctor` says how to fix it') from error
    with DefaultScope.overwrite_default_scope(scope):
        yield


@contextmanager
def config_errors(filename: str) -> Iterator[None]:
    """Turn what a wrong value in the config raises, where its objects are built, into one message."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        data = _data_file(error)
        if data:
            raise InputError(f'{data} cannot be used: {type(error).__name__}: {error}') from error
        absent = isinstance(error, RuntimeError) and 'install' in str(error)  # as mmdet says of absent packages
        if not absent and not isinstance(error, (AssertionError, ImportError, KeyError, TypeError, ValueError)):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        cause = error
        while cause.__context__ is not None:  # registries raise anew, with the class in front
            cause = cause.__context__
        frame = traceback.extract_tb(cause.__traceback__)[-1]
        raise InputError(f'{filename} cannot be built: {_explained(str(text) or frame.line)} ({frame.filename}, line '
                         f'{frame.lineno})') from error


def _explained(text: str) -> str:
    """A message of a registry or of a class that it builds, with what to do where that is known."""
    if "unexpected keyword argument 'pretrained'" in text:
        return f'{text}; the config names weights of the backbone that was replaced: set model.pretrained=None'
    absent = re.match(r'(?:mobileode_mm\.)?(\w+) is not in the .+ registry', text)
    for part in ('detection', 'segmentation', 'classification', 'engine') if absent else ():
        module = f'mobileode_mm.{part}'
        try:
            ours = importlib.import_module(module).__all__
        except ImportError:  # of a toolbox that is not installed
            continue
        if absent[1] in ours:
            return (f"{absent[1]} is not imported: write type='{module}.{absent[1]}', or add '{module}' to the imports "
                    'of custom_imports')
    return text


def _data_file(error: Exception) -> str | None:
    """What was being read where an error comes out of a data set's or an evaluator's own reading; else None."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        if frame.f_code.co_name in _READING and owner is not None:
            where = getattr(owner, 'ann_file', '') or getattr(owner, 'data_root', '') or 'the data'
            return f'{where}, read by {type(owner).__name__},'
    return None


def registry_fault(error: Exception) -> str | None:
    """What the config names wrongly, where a registry says so once the run has begun; None for another error."""
    text = str(error.args[0]) if error.args else ''
    built = text.startswith('class `') or re.search('is not in the .+ registry', text)
    return f'the config cannot be built: {_explained(text)}' if built else None


def build_model(cfg: Config) -> nn.Module:
    """The network of a config, in :func:`config_scope`.

    Raises:
        InputError: It cannot be built.
    """
    model = cfg.model.copy()
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with config_errors(cfg.filename):
        return MODELS.build(model)


def head_classes(model: nn.Module) -> dict[str, int]:
    """Number of classes by the name of each head that names things (an RPN's does not); of a list's heads, the last."""
    heads = {re.sub(r'\.\d+$', '', name): module for name, module in model.named_modules()}
    return {name: module.num_classes for name, module in heads.items()
            if name.rsplit('.', 1)[-1] in ('bbox_head', 'mask_head', 'decode_head', 'auxiliary_head', 'head')
            and isinstance(getattr(module, 'num_classes', None), int)}


def check_settings(cfg: Config) -> None:
    """InputError where a setting of a training is known to be wrong before anything is built; in :func:`config_scope`.
    """
    _check_optimizer(cfg)
    _check_schedules(cfg)
    check_keys(cfg)
    check_monitors(cfg)


def _check_numbers(cfg: Config, splits: tuple[str, ...]) -> None:
    wanted = [(f'{split}_dataloader.{name}', least) for split in splits
              for name, least in (('batch_size', 1), ('num_workers', 0))]
    if 'train' in splits:
        wanted += [('train_cfg.max_epochs', 1), ('train_cfg.max_iters', 1), ('train_cfg.val_interval', 1)]
    for key, least in wanted:
        section, name = key.split('.')
        value = (cfg.get(section) or {}).get(name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise InputError(f'{key} is {value!r}: a whole number of at least {least} is wanted')


def _check_optimizer(cfg: Config) -> None:
    # MMEngine looks an optimizer up without looking whether it found one.
    name = (cfg.optim_wrapper.get('optimizer') or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(None) as scoped:  # the toolbox's own too
        absent = isinstance(name, str) and scoped.get(name) is None
    if absent:
        nearest = ', '.join(difflib.get_close_matches(name, OPTIMIZERS.module_dict))
        raise InputError(f'optim_wrapper.optimizer.type is {name!r}: there is no such optimizer; '
                         f'nearest names: {nearest or "none"}')
    for key, value in (cfg.optim_wrapper.get('optimizer') or {}).items():
        if key in ('lr', 'momentum', 'weight_decay', 'eps') and isinstance(value, str):  # as YAML reads 1e-3
            raise InputError(f'optim_wrapper.optimizer.{key} is the text {value!r}: a number is wanted, as in 0.001')


def _check_validation(cfg: Config) -> None:
    # MMEngine says so with all that the three hold.
    given = {f'val_{part}': cfg.get(f'val_{part}') is not None for part in ('dataloader', 'cfg', 'evaluator')}
    if len(set(given.values())) > 1:
        there, absent = ([key for key, value in given.items() if value is wanted] for wanted in (True, False))
        raise InputError(f'the config has {" and ".join(there)} and no {" and no ".join(absent)}: a validation wants '
                         'all three, and a training without one None for each')


def _numbers_that_stop_learning(cfg: Config) -> list[str]:
    wrapper, warnings = cfg.optim_wrapper, []
    # A one-cycle schedule has its own rate.
    if (wrapper.get('optimizer') or {}).get('lr') == 0 and not any(
            type_name(schedule).startswith('OneCycle') for _, schedule in schedules(cfg)):
        warnings.append('optim_wrapper.optimizer.lr is 0: no weight changes')
    if (wrapper.get('clip_grad') or {}).get('max_norm') == 0:
        warnings.append('optim_wrapper.clip_grad.max_norm is 0: it takes all of every gradient, and no weight learns')
    return warnings


def _check_schedules(cfg: Config) -> None:
    # MMEngine builds such a schedule, and divides by its factor in a later step.
    for key, schedule in schedules(cfg):
        for kind, name in (('Linear', 'start_factor'), ('Constant', 'factor')):
            if type_name(schedule).startswith(kind) and schedule.get(name) == 0:
                raise InputError(f'{key}.{name} is 0, and {type_name(schedule)} divides by it; set a small number such '
                                 'as 0.001')


def _check_samplers(cfg: Config, splits: tuple[str, ...]) -> None:
    # MMEngine takes its length for that of an epoch, and the epoch has no end.
    for split in splits:
        sampler = type_name((cfg.get(f'{split}_dataloader') or {}).get('sampler') or {})
        if 'Infinite' not in sampler and 'MultiSource' not in sampler:
            continue
        endless = f'{split}_dataloader.sampler is an endless {sampler}'
        if split != 'train':
            raise InputError(f'{endless}, and what it is for would not end: take a DefaultSampler with shuffle=False')
        if is_by_epoch(cfg):
            raise InputError(f'{endless}, and train_cfg counts epochs, of which the first would not end: take a '
                             'DefaultSampler, or an IterBasedTrainLoop with max_iters')


def check_amp(cfg: Config) -> None:
    """InputError where mixed precision is asked for without a device that has it."""
    if type_name(cfg.get('optim_wrapper') or {}) == 'AmpOptimWrapper' and not torch.cuda.is_available():
        raise InputError('mixed precision (--amp, AmpOptimWrapper) needs a GPU, and torch sees none; train without it')


def check_new(path: str, flag: str) -> None:
    """InputError where an output exists already: a file, or a folder that is not empty."""
    if os.path.isfile(path) or os.path.isdir(path) and os.listdir(path):
        raise InputError(f'{path} exists already and is not overwritten; remove it, or choose another name for {flag}')
