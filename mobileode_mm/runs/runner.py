"""What train and test share: a Runner with the project's hooks, and failures of the data told in one
message."""
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..cores import usable_cores
from ..data.images import find_faulty
from ..engine import distributed, reseed  # noqa: F401  (registers the wrapper and the hook)
from ..engine.compiling import compile_network, compile_options
from ..engine.progress import ProgressBarHook
from ..errors import InputError
from .checks import config_errors, config_scope
from .config import data_roots
from .dataset_checks import DataChecks

#: How long a file that broke during the run is looked for where its error does not name it.
SEARCH_SECONDS = 60


def settle_work_dir(cfg: Config, work_dir: str | None) -> None:
    """The folder given, else the config's, else ``./work_dirs/<name of the config>``."""
    if work_dir is not None:
        cfg.work_dir = str(Path(work_dir).expanduser())
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(cfg.filename).stem)


def add_hooks(cfg: Config, *names: str) -> None:
    """Add custom hooks, each only where the config has none of its type."""
    hooks = list(cfg.get('custom_hooks') or [])
    present = {type_name(hook) for hook in (*hooks, *(cfg.get('default_hooks') or {}).values())}
    cfg.custom_hooks = hooks + [dict(type=name) for name in names if name not in present]


def type_name(cfg) -> str:
    """Bare name of the ``type`` of a config or the class of an object."""
    kind = cfg.get('type', '') if isinstance(cfg, dict) else type(cfg)
    return (kind if isinstance(kind, str) else kind.__name__).rsplit('.', 1)[-1]


def settle_dataloaders(cfg: Config) -> None:
    """Mend what would stop a dataloader or slow it down."""
    for split in ('train', 'val', 'test'):
        dataloader = cfg.get(f'{split}_dataloader')
        if dataloader is None:
            continue
        if not dataloader.get('num_workers'):
            dataloader.persistent_workers = False  # torch refuses to keep workers that there are not
        if cfg.get('default_scope') == 'mmpretrain':
            dataloader.setdefault('collate_fn', dict(type='default_collate'))  # as mmpretrain's own tools do


def build_runner(cfg: Config, splits: tuple[str, ...]) -> Runner:
    """The Runner of a config with its loops and optimizer. It never writes over a config file in the work dir."""
    # MMEngine writes the config to the work dir under its own name: over an earlier run's, or over the user's own.
    filename = cfg.filename
    if Path(cfg.work_dir, Path(filename).name).exists():
        cfg.setdefault('experiment_name', Path(filename).stem)
        object.__setattr__(cfg, '_filename', None)
    if cfg.launcher != 'none' and cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MobileODEDistributedDataParallel', find_unused_parameters=cfg.get('find_unused_parameters', False))
    build = RUNNERS.build if 'runner_type' in cfg else Runner.from_cfg
    with config_errors(filename):
        runner = build(cfg)
        for split in splits:
            loop = getattr(runner, f'{split}_loop')  # builds it: datasets and pipelines
            if not len(loop.dataloader):
                raise InputError(f'{split}_dataloader gives no batch: its dataset holds {len(loop.dataloader.dataset)} '
                                 f'pictures, fewer than a batch where drop_last is set; lower '
                                 f'{split}_dataloader.batch_size or give it more pictures')
        if 'train' in splits:
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    _compile(runner)
    return runner


def _compile(runner: Runner) -> None:
    """What the config's ``compile`` asks for. The key is taken from the Runner, which would compile in its own way."""
    options = compile_options(runner.cfg.pop('compile', None))
    if options is not None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        runner.logger.info(compile_network(model, options))


@contextmanager
def running(runner: Runner, cfg: Config, splits: tuple[str, ...]) -> Iterator[None]:
    """Around ``runner.train()`` or ``runner.test()``.

    A file that fails to load becomes one message, and so does what the config names wrongly and is built only now
    (schedules). The progress bar goes away.
    """
    try:
        yield
    except Exception as error:
        fault = _registry_fault(error) or _data_fault(error, cfg, splits)
        if fault is None:
            raise
        raise InputError(fault) from error
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressBarHook):
                hook.close()


def _registry_fault(error: Exception) -> str | None:
    text = str(error.args[0]) if error.args else ''
    built = text.startswith('class `') or re.search('is not in the .+ registry', text)
    return f'the config cannot be built: {text}' if built else None


def _data_fault(error: Exception, cfg: Config, splits: tuple[str, ...]) -> str | None:
    """What is wrong with the data where loading them failed; None where something else did."""
    text = str(error)
    in_worker = 'DataLoader worker' in text
    if not in_worker and not any(frame.name == 'prepare_data' for frame in traceback.extract_tb(error.__traceback__)):
        return None
    # A worker's error arrives as text: its traceback, which may quote these words from the program, and the
    # message last.
    for pattern, told in ((r'failed to load image: (.+)', 'the picture {} became unreadable during the run'),
                          (r"No such file or directory: '(.+)'", 'the file {} vanished during the run')):
        found = re.findall(pattern, text)
        if found:
            return told.format(found[-1])
    print_log('Loading data failed; looking for a broken file.', logger='current')
    with config_scope(cfg):
        checks = DataChecks(cfg, {})
        for split in splits:
            for paths, what, read in checks.pictures(split):
                for path, fault in find_faulty(paths, read, SEARCH_SECONDS).items():
                    return f'one of the {what} became unusable during the run: {path} {fault}'
    return None


class StartLines(Hook):
    """Log in one line each what a run effectively works with.

    Args:
        notes: Further lines.
    """

    def __init__(self, notes: list[str]):
        self.notes = notes

    def before_train(self, runner) -> None:
        dataloader = runner.train_dataloader
        batch = dataloader.batch_size or getattr(dataloader.batch_sampler, 'batch_size', None)
        wrapper = runner.optim_wrapper
        accumulated = getattr(wrapper, '_accumulative_counts', 1)
        optimizer = getattr(wrapper, 'optimizer', None)
        if optimizer is not None:
            rates = sorted({group.get('initial_lr', group['lr']) for group in optimizer.param_groups})
            rate = ' to '.join(f'{rate:g}' for rate in dict.fromkeys((rates[0], rates[-1])))
            scaling = runner.auto_scale_lr or {}
            scaled = ''
            if scaling.get('enable'):
                factor = batch * runner.world_size / scaling['base_batch_size']
                scaled = f', scaled by {factor:g} from batches of {scaling["base_batch_size"]}'
            runner.logger.info(f'Effective learning rate: {rate} ({type(optimizer).__name__}{scaled})')
        if batch:
            runner.logger.info(
                f'Effective batch size: {batch * runner.world_size * accumulated} ({batch} per process x '
                f'{runner.world_size} processes x {accumulated} accumulated)')
        self._machine(runner)

    def before_test(self, runner) -> None:
        self._machine(runner)

    def _machine(self, runner) -> None:
        runner.logger.info(f'Threads: {torch.get_num_threads()} per process, of {usable_cores()} cores')
        device = next(runner.model.parameters()).device
        name = f' ({torch.cuda.get_device_name(device)})' if device.type == 'cuda' else ''
        runner.logger.info(f'Device: {device}{name}')
        roots = dict.fromkeys(map(os.path.abspath, data_roots(runner.cfg)))
        runner.logger.info(f'Data: {", ".join(roots) or "no root"}')
        for note in self.notes:
            runner.logger.info(note)
