"""Schedules, checkpoints and switches against the length of a training: what comes after its end, or never."""
from collections.abc import Iterator

from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.optim import scheduler
from mmengine.runner import IterBasedTrainLoop, Runner

from ..errors import InputError

#: Schedules with a course from one end to the other; the last three take the rate where it is to end.
_COURSES = (scheduler.LinearParamScheduler, scheduler.ConstantParamScheduler, scheduler.CosineAnnealingParamScheduler,
            scheduler.PolyParamScheduler, scheduler.OneCycleParamScheduler)
_LAST = _COURSES[2:]
#: Stock configs of YOLOX have a period of 285 epochs, of which they take 280.
_WELL_ABOVE = 1.1
#: Share of an average that is its beginning: where it is larger, networks validate worse than they are.
_KEPT = 0.2


def length_warnings(runner: Runner) -> list[str]:
    """What of a training's settings does not fit its length, in a sentence each.

    A config that shortens ``train_cfg`` of its ``_base_``, or trains by iterations where that trains by epochs, keeps
    schedules and hooks of the other length; MMEngine says nothing.

    Args:
        runner: Its schedules and hooks built.

    Raises:
        InputError: A schedule would end the training in an error.
    """
    found = runner.param_schedulers or []
    groups = list(found.values()) if isinstance(found, dict) else [found]
    warnings = [warning for group in groups for warning in _of_schedules(runner, group)]
    warnings += [warning for hook in runner.hooks for warning in _of_hook(runner, hook)]
    loop = runner.train_loop
    unit, limit = _length(runner, not _counts_iterations(runner))
    if getattr(loop, 'val_begin', 0) > limit and runner.val_loop is not None:
        warnings.append(f'train_cfg.val_begin is {unit} {loop.val_begin}, and the training ends at {limit}: nothing is '
                        'validated')
    return list(dict.fromkeys(warnings))


def _of_schedules(runner: Runner, group: list) -> Iterator[str]:
    ends = []
    for one in group:
        name = type(one).__name__
        if one.by_epoch and _counts_iterations(runner):
            yield (f'{name} counts epochs, and this training counts iterations: it takes no step; set by_epoch=False, '
                   'and its lengths in iterations')
            continue
        unit, limit = _length(runner, one.by_epoch)
        milestones = getattr(one, 'milestones', None)
        steps = min(one.end, limit) - one.begin
        if isinstance(one, scheduler.OneCycleParamScheduler) and min(one.end - 1, limit) - one.begin > one.total_steps:
            raise InputError(f'{name} has a total_steps of {one.total_steps} {unit}s, and the training has {steps} '
                             f'for it: it would end there in an error; remove total_steps, or set it to {steps}')
        period = getattr(one, 'T_max', steps)
        if one.begin >= limit:
            yield f'{name} begins at {unit} {one.begin}, and the training ends at {limit}: nothing follows from it'
        elif milestones and min(milestones) >= limit:
            yield f'{name} has its first milestone at {unit} {min(milestones)}, and the training ends at {limit}'
        elif isinstance(one, _COURSES) and one.end > limit:
            yield (f'{name} goes on to {unit} {one.end}, and the training ends at {limit}: it stops on its way; set '
                   f'its end, and T_max where it has one, to {limit}')
        elif not steps <= period <= _WELL_ABOVE * steps:
            yield (f'{name} has a T_max of {period} {unit}s, and {steps} to go: '
                   f'{"it rises again" if period < steps else "it stops on its way"}; set T_max to {steps}')
        ends.append((one.end / limit, isinstance(one, _LAST), f'{unit} {one.end}'))
    share, is_last, end = max(ends, default=(1, False, ''))
    if share < 1 and is_last:
        yield f'the schedules end at {end}, before the training: from there on the learning rate stays as it is'


def _of_hook(runner: Runner, hook: Hook) -> Iterator[str]:
    name, by_iteration = type(hook).__name__, _counts_iterations(runner)
    if isinstance(hook, CheckpointHook):
        unit, limit = _length(runner, hook.by_epoch)
        if hook.by_epoch and by_iteration:
            yield (f'{name} counts epochs, and this training counts iterations: it writes no checkpoint before the '
                   'end; set by_epoch=False, and interval in iterations')
        elif not 0 < hook.interval <= limit and not hook.save_last and not hook.save_best:
            yield f'{name} has an interval of {hook.interval} {unit}s, of {limit}: no checkpoint is written'
    if isinstance(hook, EMAHook) and str(hook.ema_cfg.get('type')).endswith('ExponentialMovingAverage'):
        begin = hook.begin_iter + hook.begin_epoch * len(runner.train_dataloader)
        momentum, interval = hook.ema_cfg.get('momentum', 0.0002), hook.ema_cfg.get('interval', 1)
        kept = (1 - momentum) ** ((runner.max_iters - begin) / interval)
        if kept > _KEPT:
            yield (f'{name} averages with a momentum of {momentum:g}: the weights that are validated and kept are to '
                   f"{kept:.0%} still those of iteration {begin} at the training's end; set a larger momentum, or "
                   "ema_type='ExpMomentumEMA'")
    unit, limit = _length(runner, True)
    switch = getattr(hook, 'switch_epoch', None)  # mmdet's PipelineSwitchHook
    if isinstance(switch, int) and (by_iteration or switch >= limit):
        yield f'{name} switches at epoch {switch}, which this training does not reach'
    last = getattr(hook, 'num_last_epochs', None)  # mmdet's YOLOXModeSwitchHook
    if isinstance(last, int) and (by_iteration or last >= limit):
        yield f'{name} switches {last} epochs before the end, and the training has {limit}: it never does'


def _counts_iterations(runner: Runner) -> bool:
    return isinstance(runner.train_loop, IterBasedTrainLoop)


def _length(runner: Runner, in_epochs: bool) -> tuple[str, int]:
    return ('epoch', runner.max_epochs) if in_epochs else ('iteration', runner.max_iters)
