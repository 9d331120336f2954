"""Training from a config file, in the order in which it happens: config, checks, Runner, training."""
import math
import os
import re
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.runner import Runner

from ..checkpoints.reading import read_checkpoint, restricted_loading, state_dict_of
from ..checkpoints.resuming import best_checkpoints, find_resume_checkpoint, numbered_checkpoints
from ..engine.atomic_backend import remove_unfinished
from ..engine.run_report import RunReportHook
from ..errors import InputError, listed
from .changes import ResumeChanges, StartOfAverage, check_changes
from .checks import check_amp, check_run
from .config import is_by_epoch, type_name
from .lengths import length_warnings
from .lock import only_training
from .processes import once_per_machine, one_voice, process_group
from .runner import (
    StartLines,
    add_hooks,
    annotations_as_checked,
    build_runner,
    compile_model,
    disk_faults,
    ready_config,
    reported_faults,
)


def train(config: str | Path, work_dir: str | Path | None = None, resume: bool | str | Path = False, amp: bool = False,
          auto_scale_lr: bool = False, load_backbone: str | Path | None = None, cfg_options: dict | None = None,
          launcher: str = 'none', trust: bool = False,
          int8_from: str | Path | None = None) -> Runner:
    """Train what a config describes: a detector, a segmentor, a classifier.

    Everything that can be checked is checked before the Runner is built. A work dir that holds checkpoints of an
    earlier run is refused unless the run is resumed, and one where a training is at work in any case. Checkpoints
    are written whole or not at all; a run that was stopped, even by SIGKILL, and is resumed from an epoch's
    checkpoint (in an iteration-based loop from any) goes on with the losses of a run that was not.

    Args:
        config: Config file.
        work_dir: Folder of checkpoints, logs and images. By default the config's, else
            ``./work_dirs/<config>``.
        resume: True or ``'auto'`` goes on from the latest whole checkpoint of the work dir (anew where there
            is none), a path from that one.
        amp: Mixed precision.
        auto_scale_lr: Scale the learning rate by the batch size, as the config's ``auto_scale_lr`` says.
        load_backbone: Checkpoint of any task whose backbone the new network starts from; grids of position norms are
            resampled. The config's ``init_cfg`` of the backbone is replaced.
        cfg_options: Dotted config keys and values that replace the file's.
        launcher: ``'none'``, or who started the processes: ``'pytorch'``, ``'slurm'``, ``'mpi'``.
        trust: Read checkpoints, also those that the config names, that can run code when they are read.
        int8_from: Trained weights that learn to bear eight bits: see :func:`learn_eight_bits`.

    Returns:
        The Runner, its training done.

    Raises:
        InputError: Something given cannot be used; before the training, or when an image turns out
            unreadable in it.
    """
    with one_voice():
        cfg = ready_config(config, 'train', work_dir, cfg_options, launcher)
        if load_backbone:
            start_from_backbone(cfg, load_backbone, trust)
        if int8_from:
            learn_eight_bits(cfg, int8_from)
        if amp:
            use_amp(cfg)
        if auto_scale_lr:
            scale_lr(cfg)
        check_amp(cfg)
    make_resumable(cfg)
    write_whole_checkpoints(cfg)
    add_hooks(cfg, 'ProgressBarHook', 'UnfinishedValidationHook', 'RunReportHook', 'DivergenceHook')
    if (cfg.model.get('backbone') or {}).get('anytime'):
        add_hooks(cfg, 'AnytimeHook')
    splits = ('train', 'val') if cfg.get('val_dataloader') is not None else ('train', )

    with process_group(cfg), restricted_loading(trust), annotations_as_checked(cfg), disk_faults(), \
            only_training(cfg.work_dir, make=False):
        start = once_per_machine(lambda: check_start(cfg, resume, splits, trust))
        apply_start(cfg, start)
        with only_training(cfg.work_dir):
            runner = build_runner(cfg, splits)
            compile_model(runner)
            if start.resume:
                runner.register_hook(ResumeChanges())
            else:
                runner.register_hook(StartOfAverage(), priority='VERY_HIGH')  # before the average takes it
            for hook in runner.hooks:
                if isinstance(hook, RunReportHook):
                    hook.data_warnings = start.warnings
            warnings = start.warnings + length_warnings(runner)
            runner.register_hook(StartLines(start.notes, warnings), priority='VERY_LOW')
            with reported_faults(runner, cfg, splits):
                runner.train()
    return runner


def start_from_backbone(cfg: Config, path: str | Path, trust: bool) -> None:
    """Initialise the backbone from a checkpoint of any task; InputError where the model has none."""
    names = state_dict_of(read_checkpoint(path, trust))
    if cfg.model.get('backbone') is None:
        raise InputError(f'--load-backbone: the model of {cfg.filename} has no backbone')
    path = str(path) if '://' in str(path) else os.path.abspath(os.path.expanduser(path))
    # A full path, for processes that run in other folders; MMEngine then does the work.
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=path)
    if any(name.startswith('backbone.') for name in names):
        cfg.model.backbone.init_cfg.prefix = 'backbone.'
    if cfg.model.get('pretrained'):  # mmseg's older way to say the same
        cfg.model.pretrained = None


def learn_eight_bits(cfg: Config, path: str | Path) -> None:
    """Make the training two epochs from these weights with maps and weights rounded as in int8.

    The learning rate begins at a tenth of the config's and falls to nothing.

    Raises:
        InputError: The config does not train by epochs.
    """
    if 'max_epochs' not in cfg.train_cfg:
        raise InputError(f'--int8-from: {cfg.filename} does not train by epochs (train_cfg.max_epochs)')
    cfg.load_from = str(path) if '://' in str(path) else os.path.abspath(os.path.expanduser(path))
    cfg.train_cfg.update(max_epochs=2, val_interval=2)
    cfg.optim_wrapper.optimizer.lr *= 0.1
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', T_max=2, end=2, convert_to_iter_based=True)]
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='QuantisationAwareHook')]


def use_amp(cfg: Config) -> None:
    """Train in mixed precision; InputError where the config has an optimizer wrapper of another kind."""
    if type_name(cfg.optim_wrapper) not in ('', 'OptimWrapper', 'AmpOptimWrapper'):
        raise InputError(f'--amp takes the place of an OptimWrapper, the config has {type_name(cfg.optim_wrapper)}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the batch size; InputError where its own batch size is not known."""
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise InputError(f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in {cfg.filename}: the batch '
                         'size that its learning rate is for')
    cfg.auto_scale_lr.enable = True


def make_resumable(cfg: Config) -> None:
    """Let what is random follow from seed and iteration, so that a resumed run repeats the undisturbed one."""
    add_hooks(cfg, 'ReseedHook')
    cfg.train_dataloader.setdefault('worker_init_fn', dict(type='seed_worker'))
    # Workers that live on carry their random state from epoch to epoch; a resumed run could not know it.
    cfg.train_dataloader.persistent_workers = False


def write_whole_checkpoints(cfg: Config) -> None:
    """Write checkpoints whole or not at all, where the config does not say how they are written."""
    hooks = cfg.get('default_hooks') or {}
    checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
    if checkpoint is None or checkpoint.get('backend_args') or checkpoint.get('file_client_args'):
        return
    if '://' not in (checkpoint.get('out_dir') or ''):
        cfg.default_hooks = {**hooks, 'checkpoint': {**checkpoint, 'backend_args': dict(backend='atomic')}}


#: Where the number stands in a name of checkpoints.
_FIELD = re.compile(r'\{[^}]*\}')


class Start(NamedTuple):
    """What a run starts from.

    Attributes:
        resume: Whether it goes on with an earlier run; else it takes at most the weights.
        path: The checkpoint, if any.
        seed: Of the earlier run.
        notes: Lines for the log.
        warnings: Doubtful things in the data.
    """
    resume: bool
    path: str | None
    seed: int | None
    notes: list[str]
    warnings: list[str]


def check_start(cfg: Config, resume: bool | str | Path, splits: tuple[str, ...], trust: bool) -> Start:
    """Check all that can be checked; what the run starts from.

    Raises:
        InputError: The run could not start, or would overwrite another.
    """
    resume = resume or bool(cfg.get('resume')) and (cfg.get('load_from') or True)
    folders = [cfg.work_dir, _checkpoint_folder(cfg)]
    notes = []
    if not resume:
        named = _checkpoint_hook(cfg).get('filename_tmpl') or 'epoch_{}.pth'
        best = best_checkpoints(*folders)
        earlier = [*numbered_checkpoints(*folders), *best,
                   *(path for folder in folders for path in Path(folder).glob(_FIELD.sub('*', Path(named).name)))]
        if earlier:
            raise InputError(
                f'{cfg.work_dir} holds checkpoints of an earlier run, {earlier[0].name} for one, which a new one could '
                f'overwrite. {"C" if earlier[0] in best else "Go on with --resume, or c"}hoose another --work-dir')
    elif resume in (True, 'auto'):
        resume, notes = find_resume_checkpoint(*folders, trust=trust)
    path = str(resume) if resume else cfg.get('load_from')
    checkpoint, more, warnings = check_run(cfg, splits, path, 'resume' if resume else 'finetune', trust)
    notes += more
    removed = [name for folder in dict.fromkeys(folders) for name in remove_unfinished(folder)]
    if removed:
        notes.append(f'Removed what a killed run left unfinished: {listed(removed)}')
    if not resume:
        return Start(False, path, None, notes, warnings)
    meta = checkpoint.get('meta', {})
    if 'epoch' not in meta or 'iter' not in meta:
        raise InputError(f'{path} does not say which iteration it is of, and no run can go on from it. To start from '
                         f'its weights: --cfg-options load_from={path}')
    if any(meta[unit] >= cfg.train_cfg.get(f'max_{unit}s', math.inf) for unit in ('epoch', 'iter')):
        notes.append(f'{path} is the end of the run: there is nothing left to train')
    elif Path(path).name.startswith('iter_') and is_by_epoch(cfg):
        notes.append(f'{path} was written inside an epoch: the data of that epoch begin again')
    notes += check_changes(cfg, checkpoint, path)
    return Start(True, path, meta.get('seed'), notes, warnings)


def _checkpoint_hook(cfg: Config) -> dict:
    return (cfg.get('default_hooks') or {}).get('checkpoint') or {}


def _checkpoint_folder(cfg: Config) -> str:
    """Where CheckpointHook writes: with an ``out_dir``, in a folder of the work dir's name there."""
    out_dir = _checkpoint_hook(cfg).get('out_dir')
    return str(Path(out_dir, Path(cfg.work_dir).resolve().name)) if out_dir else cfg.work_dir


def apply_start(cfg: Config, start: Start) -> None:
    """Let the config say what :func:`check_start` found."""
    cfg.resume, cfg.load_from = start.resume, start.path
    if start.seed is not None:
        # The samplers are seeded before MMEngine takes the seed from the checkpoint.
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': start.seed}
