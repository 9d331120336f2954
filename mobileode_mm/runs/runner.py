"""What training and testing share: a config made ready, its Runner, the first lines of the log, faults in the run."""
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import nn

from ..backbones import Deployable, replacement
from ..checkpoints.reading import shown
from ..engine import distributed, reseed  # noqa: F401  (registers the wrapper and the hook)
from ..engine.compiling import compile_network, compile_options
from ..engine.divergence import ADVICE
from ..engine.progress import ProgressBarHook
from ..errors import InputError, disk_fault, listed, memory_fault
from .checks import check_parts, config_errors, config_scope, registry_fault
from .config import data_roots, load_config, type_name
from .consistency.checking import data_fault
from .first_batches import FirstBatches, first_batch_fault
from .monitors import monitor_fault
from .processes import one_voice, raise_open_files, usable_cores


def ready_config(config: str | Path, split: str, work_dir: str | Path | None, cfg_options: dict | None,
                 launcher: str) -> Config:
    """Load a config and resolve what it leaves open: its work dir, its launcher, settings of its dataloaders.

    Args:
        config: Config file.
        split: What it is for: ``'train'`` or ``'test'``.
        work_dir: Replaces the config's, which is by default ``./work_dirs/<name of the config>``.
        cfg_options: Dotted config keys and values that replace the file's.
        launcher: Who started the processes.

    Raises:
        InputError: The config cannot be read, or lacks what the split needs.
    """
    cfg = load_config(config, cfg_options)
    check_parts(cfg, split)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = str(Path(work_dir).expanduser())
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(cfg.filename).stem)
    fix_dataloaders(cfg)
    return cfg


def fix_dataloaders(cfg: Config) -> None:
    """Fix what would stop a dataloader or slow it down."""
    for split in ('train', 'val', 'test'):
        dataloader = cfg.get(f'{split}_dataloader')
        if dataloader is None:
            continue
        if not dataloader.get('num_workers'):
            dataloader.persistent_workers = False  # torch refuses to keep workers that there are not
        if cfg.get('default_scope') == 'mmpretrain':
            dataloader.setdefault('collate_fn', dict(type='default_collate'))  # as mmpretrain's own tools do


def add_hooks(cfg: Config, *names: str) -> None:
    """Add custom hooks, each only where the config has none of its type."""
    hooks = list(cfg.get('custom_hooks') or [])
    present = {type_name(hook) for hook in (*hooks, *(cfg.get('default_hooks') or {}).values())}
    cfg.custom_hooks = hooks + [dict(type=name) for name in names if name not in present]


def build_runner(cfg: Config, splits: tuple[str, ...]) -> Runner:
    """The Runner of a config with its loops, optimizer and schedules.

    It never writes over a config file in the work dir.

    Raises:
        InputError: Something that the config names cannot be built, or a dataloader gives no batch.
    """
    # MMEngine writes the config to the work dir under its own name: over an earlier run's, or over the user's own.
    filename = cfg.filename
    if Path(cfg.work_dir, Path(filename).name).exists():
        cfg.setdefault('experiment_name', Path(filename).stem)
        object.__setattr__(cfg, '_filename', None)
    if cfg.launcher != 'none' and cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MobileODEDistributedDataParallel', find_unused_parameters=cfg.get('find_unused_parameters', False))
    _take_names_of_its_own(cfg)
    raise_open_files()
    with config_errors(filename):
        runner = RUNNERS.build(cfg)
        for split in splits:
            loop = getattr(runner, f'{split}_loop')  # builds it: datasets and pipelines
            if not len(loop.dataloader):
                raise InputError(f'{split}_dataloader gives no batch: its dataset holds {len(loop.dataloader.dataset)} '
                                 f'images, fewer than a batch where drop_last is set; lower '
                                 f'{split}_dataloader.batch_size or give it more images')
        runner.register_hook(FirstBatches())
        if 'train' in splits:
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            _scale_lr(runner)
            if runner.param_schedulers is not None:
                # ``runner.train()`` takes those that are built as they are.
                runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return runner


def _take_names_of_its_own(cfg: Config) -> None:
    # MMEngine names runs by config and second, and gives a run whose name is taken the other's logger and log file; and
    # where the name of the config's visualizer is taken, the other's, which writes scalars into the other's work dir.
    # Without a name it has the run's.
    if cfg.get('visualizer') and Visualizer.check_instance_created(cfg.visualizer.get('name') or ''):
        del cfg.visualizer['name']
    name = cfg.get('experiment_name') or Path(cfg.filename).stem
    while MMLogger.check_instance_created(f'{name}_{time.strftime("%Y%m%d_%H%M%S")}'):
        time.sleep(0.05)


def lr_factor(runner: Runner) -> float:
    """By what ``auto_scale_lr`` of the config multiplies the learning rate: batch sizes as they take effect, over all
    processes and accumulated batches, against the one that the rate is for."""
    scaling = runner.cfg.get('auto_scale_lr') or {}
    if not scaling.get('enable'):
        return 1.
    return _effective_batch(runner) / scaling['base_batch_size']


def _effective_batch(runner: Runner) -> int:
    dataloader = runner.train_dataloader
    batch = dataloader.batch_size or getattr(dataloader.batch_sampler, 'batch_size', None) or 0
    return batch * runner.world_size * getattr(runner.optim_wrapper, '_accumulative_counts', 1)


def _scale_lr(runner: Runner) -> None:
    """Scale the learning rate in the place of MMEngine, which passes over accumulated batches."""
    wrapper, runner.auto_scale_lr = runner.optim_wrapper, None
    for one in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
        for group in one.optimizer.param_groups:
            group['lr'] *= lr_factor(runner)


def compile_model(runner: Runner) -> None:
    """Compile what the config's ``compile`` asks for.

    The key is taken from the Runner, which would compile in its own way.
    """
    options = compile_options(runner.cfg.pop('compile', None))
    if options is not None:
        runner.logger.info(compile_network(_unwrapped(runner), options))


def _unwrapped(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@contextmanager
def disk_faults() -> Iterator[None]:
    """Around all that a run writes: a disk that takes no more ends it, in one message.

    Of a line that cannot be written, logging otherwise prints a traceback, and goes on.

    Raises:
        InputError: In the place of the system's error.
    """
    report = logging.Handler.handleError

    def end_or_report(handler: logging.Handler, record: logging.LogRecord) -> None:
        if disk_fault(sys.exc_info()[1]):
            raise
        report(handler, record)

    logging.Handler.handleError = end_or_report
    try:
        yield
    except OSError as error:
        fault = disk_fault(error)
        if fault is None:
            raise
        raise InputError(fault) from error
    finally:
        logging.Handler.handleError = report


@contextmanager
def reported_faults(runner: Runner, cfg: Config, splits: tuple[str, ...]) -> Iterator[None]:
    """Around ``runner.train()`` or ``runner.test()``.

    A file that fails to load becomes one message, and so do what the config names wrongly and is built only now
    (averaged weights), a metric that validation does not give, a work dir that is gone, a checkpoint that no run can go
    on from, and whatever fails on a first batch. The progress bar goes away. What the package logs of itself, such as
    who computes the solvers and why, is in the run's log.

    Raises:
        InputError: In the place of such an error.
    """
    log = logging.getLogger('mobileode_mm')
    before = log.handlers, log.level, log.propagate
    log.handlers, log.propagate = list(runner.logger.handlers), False
    log.setLevel(logging.INFO)
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or disk_fault(error):
            raise  # a message already, or for disk_faults
        unused = _unused_fault(error, runner)
        if unused:
            with one_voice():  # which all processes meet
                raise InputError(unused) from error
        fault = _work_dir_fault(error, cfg) or _resume_fault(error, cfg) or monitor_fault(error) \
            or _worker_fault(error) or _loss_fault(error, runner)
        if fault is None:
            with config_scope(cfg):
                fault = registry_fault(error) or data_fault(error, cfg, splits)
        if fault is None and not memory_fault(error):
            fault = first_batch_fault(error, runner, _unwrapped(runner))
        if fault is None:
            raise
        raise InputError(fault) from error
    finally:
        log.handlers, level, log.propagate = before
        log.setLevel(level)
        for hook in runner.hooks:
            if isinstance(hook, ProgressBarHook):
                hook.close()


def _unused_fault(error: Exception, runner: Runner) -> str | None:
    """What DDP says in the second iteration of parameters that had no gradient in the first."""
    text = str(error)
    if 'Expected to have finished reduction in the prior iteration' not in text:
        return None
    names = [name for name, parameter in runner.model.module.named_parameters() if parameter.requires_grad]
    without = re.search(r'did not receive grad for rank \d+: ([\d ]+)', text)
    unused = listed((names[int(number)] for number in without[1].split()), 3) if without else 'some parameters'
    return (f'{unused} have no part in the loss, which processes that train together have to know of: set '
            'find_unused_parameters=True in the config, or leave out of the network what is not used')


def _worker_fault(error: Exception) -> str | None:
    """What torch says of a worker that is gone; which of the two depends on when it looks."""
    ended = re.search(r'DataLoader worker \(pid[^ ]* [^)]*\) (is killed by signal: [^.]+|exited unexpectedly)',
                      str(error))
    if ended is None:
        return None
    return (f'a worker of a dataloader {ended[1]}, as happens where memory runs out: set a smaller num_workers or '
            'batch_size of it; with num_workers=0 other causes show themselves. --resume goes on with a training')


def _loss_fault(error: Exception, runner: Runner) -> str | None:
    """What mmdet's CheckInvalidLossHook ends a training for, by an assertion without words."""
    if Path(traceback.extract_tb(error.__traceback__)[-1].filename).name != 'checkloss_hook.py':
        return None
    return (f'the loss is no finite number at iteration {runner.iter + 1}, where CheckInvalidLossHook of the config '
            f'ends a training. {ADVICE.format(runner.work_dir)}')


def _work_dir_fault(error: Exception, cfg: Config) -> str | None:
    if isinstance(error, FileNotFoundError) and not os.path.isdir(os.path.dirname(str(error.filename))) \
            and Path(os.path.abspath(str(error.filename))).is_relative_to(os.path.abspath(cfg.work_dir)):
        return f'the work dir {cfg.work_dir}, or a folder in it, was removed while the run was at work'
    return None


def _resume_fault(error: Exception, cfg: Config) -> str | None:
    """What MMEngine says of a checkpoint whose weights fit, but not the rest of it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not cfg.get('resume') or not any(frame.name == 'resume' for frame in frames):
        return None
    return (f'no run can go on from {cfg.load_from} ({type(error).__name__}: {shown(error)}). To start from its '
            f'weights: --cfg-options load_from={cfg.load_from}')


@contextmanager
def annotations_as_checked(cfg: Config) -> Iterator[None]:
    """While a run lasts, let mmdet read COCO files as the checks read them; elsewhere nothing changes."""
    if cfg.get('default_scope') != 'mmdet':
        yield
        return
    with config_scope(cfg):
        from ..detection.annotations import filled_annotations
    with filled_annotations():
        yield


class InferenceForm(Hook):
    """Give a network the form in which it is tested: the deploy form where it has one, then compiled.

    The checkpoint is of the trained form, and is loaded by then. Averaged weights, which an EMAHook puts into the
    network for the test, follow.

    Args:
        deploy: Whether to switch to the deploy form.
    """

    priority = 'VERY_HIGH'

    def __init__(self, deploy: bool):
        self.deploy = deploy

    def before_test(self, runner) -> None:
        model = _unwrapped(runner)
        if self.deploy and isinstance(model, Deployable):
            averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
            for network in (model, *averages):
                network.switch_to_deploy()
            runner.logger.info(f'{type(model).__name__} is tested in its deploy form (--no-deploy: as it was trained)')
        compile_model(runner)


class StartLines(Hook):
    """Log in one line each what a run effectively works with.

    Args:
        notes: Further lines.
        warnings: Further lines, as warnings.
    """

    def __init__(self, notes: list[str], warnings: list[str]):
        self.notes, self.warnings = notes, warnings

    def before_train(self, runner) -> None:
        batch = _effective_batch(runner)
        accumulated = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
        if optimizer is not None:
            next_rate = _span([group['lr'] for group in optimizer.param_groups])
            base = _span([group.get('initial_lr', group['lr']) for group in optimizer.param_groups])
            factor = lr_factor(runner)
            details = [type(optimizer).__name__, *([f'{base} before its schedule'] if next_rate != base else []), *(
                [f'scaled by {factor:g} from batches of {runner.cfg.auto_scale_lr["base_batch_size"]}']
                if (runner.cfg.get('auto_scale_lr') or {}).get('enable') else [])]
            runner.logger.info(f'Effective learning rate: {next_rate} ({", ".join(details)})')
        if batch:
            runner.logger.info(
                f'Effective batch size: {batch} ({batch // runner.world_size // accumulated} per process x '
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
        for note in filter(None, (replacement(runner.model), *self.notes)):
            runner.logger.info(note)
        for warning in self.warnings:
            runner.logger.warning(warning)


def _span(rates: list[float]) -> str:
    return ' to '.join(dict.fromkeys(f'{rate:g}' for rate in (min(rates), max(rates))))
