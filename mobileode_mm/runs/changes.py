"""What a resumed run's config has otherwise than its checkpoint: the config's is taken over, or it is refused."""
import ast
import warnings

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from ..errors import InputError
from .config import type_name

#: What a schedule's state says of how far it is, and not of what it is.
_PROGRESS = ('last_step', '_global_step', '_last_value', 'verbose')


def check_changes(cfg: Config, checkpoint: dict, path: str) -> list[str]:
    """Lines on what the config has otherwise than the run that wrote a checkpoint.

    Args:
        cfg: The config.
        checkpoint: What was read.
        path: Its file, for messages.

    Raises:
        InputError: The optimizer's state, or the loop, cannot be taken over.
    """
    earlier, present = read_settings((checkpoint.get('meta') or {}).get('cfg') or ''), cfg.to_dict()
    begin = f'To start from its weights: --cfg-options load_from={path}, without --resume'
    before, now = (type_name((settings.get('optim_wrapper') or {}).get('optimizer') or {})
                   for settings in (earlier, present))
    if before and now and before != now:
        raise InputError(f'{path} holds the state of the optimizer {before}, the config has {now}, and the one cannot '
                         f'go on with the state of the other. {begin}')
    before, now = (_by_epoch(settings.get('train_cfg') or {}) for settings in (earlier, present))
    if earlier.get('train_cfg') and before != now:
        kinds = {True: 'epochs', False: 'iterations'}
        raise InputError(f'{path} is of a run that counts {kinds[before]}, the config counts {kinds[now]}, and the '
                         f'schedule cannot go on. {begin}')
    found = []
    for key in ('train_cfg.max_epochs', 'train_cfg.max_iters', 'train_dataloader.batch_size',
                'optim_wrapper.accumulative_counts', 'optim_wrapper.type'):
        before, now = (_get(settings, key) for settings in (earlier, present))
        if earlier and before != now:
            found.append(f'{key} {before} -> {now}')
    lines = []
    if found:
        lines.append(f'Resumed with settings that are not those of {path}; the config wins: {", ".join(found)}')
    seed, asked = (checkpoint.get('meta') or {}).get('seed'), (present.get('randomness') or {}).get('seed')
    if seed is not None and asked not in (None, seed):
        lines.append(f'The seed stays {seed}, that of {path}: randomness.seed={asked} of the config is not used')
    return lines


class StartOfAverage(Hook):
    """Let averaged weights begin with the weights that a new run starts from, as MMEngine's ``EMAHook`` does.

    That of mmpretrain takes the average that the checkpoint's run was at, which has another number of classes where
    the head has.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remove what a run that goes on would take."""
        checkpoint.pop('ema_state_dict', None)


class ResumeChanges(Hook):
    """Let learning rate, weight decay and schedule of the config win over those of the checkpoint.

    MMEngine's resume takes all of them from the checkpoint, whatever the config says. Where they are the same, nothing
    is changed. Where they differ, the state that is loaded becomes what it would be, had the run had this config from
    its beginning: its settings, and its schedule run forward to the checkpoint's iteration. Momenta and moments stay.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Edit what the Runner is about to take over.

        Raises:
            InputError: The optimizer's parameters are grouped in another way.
        """
        if 'optimizer' not in checkpoint or not isinstance(runner.optim_wrapper, OptimWrapper):
            return
        notes = self._count(runner, checkpoint['meta'])
        saved, fresh = checkpoint['optimizer']['param_groups'], runner.optim_wrapper.optimizer.param_groups
        if [len(group['params']) for group in saved] != [len(group['params']) for group in fresh]:
            raise InputError('the checkpoint groups the parameters in another way than optim_wrapper.paramwise_cfg of '
                             'the config, and cannot be resumed with it; start from its weights with load_from')
        schedules = list(runner.param_schedulers or ())
        changed = _changed_settings(saved, fresh)
        states = checkpoint.get('param_schedulers', [])
        if [_settings(schedule.state_dict()) for schedule in schedules] != [_settings(state) for state in states]:
            changed['schedule'] = 'as in the config'
        if changed and any(hasattr(schedule, 'monitor') for schedule in schedules):
            runner.logger.warning('A schedule that follows a metric cannot be run forward: learning rate and schedule '
                                  'of the checkpoint win over those of the config')
        elif changed or notes:
            self._run_forward(runner, schedules, checkpoint['meta'])
            for old, new in zip(saved, fresh):
                old.update({key: value for key, value in new.items() if key != 'params'})
            checkpoint['param_schedulers'] = [schedule.state_dict() for schedule in schedules]
            notes += [f'{name} {change}' for name, change in changed.items()]
            runner.logger.info(f"Resumed with the config's settings, not the checkpoint's: {'; '.join(notes)}")

    def _count(self, runner: Runner, meta: dict) -> list[str]:
        """Set the iteration where epochs have another number of iterations than before."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            return []
        length, epoch, iteration = len(runner.train_dataloader), meta['epoch'], meta['iter']
        if epoch * length <= iteration < (epoch + 1) * length:
            return []
        meta['iter'] = epoch * length
        return [f'an epoch has {length} iterations, so that epoch {epoch} ended at iteration {epoch * length}, not '
                f'{iteration}']

    def _run_forward(self, runner: Runner, schedules: list, meta: dict) -> None:
        """Step as ParamSchedulerHook does in a run."""
        by_epoch = not isinstance(runner.train_loop, IterBasedTrainLoop)
        length = len(runner.train_dataloader) if by_epoch else meta['iter'] + 1
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the optimizer made no step before these
            for iteration in range(1, meta['iter'] + 1):
                for schedule in schedules:
                    if not schedule.by_epoch:
                        schedule.step()
                if iteration % length == 0:
                    for schedule in schedules:
                        if schedule.by_epoch:
                            schedule.step()


def read_settings(text: str) -> dict:
    """Variables of a config as a checkpoint holds them, ``name = value`` each; without running it.

    What is no literal, ``dict(...)`` or ``list``, is left out.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError:
        return {}
    found = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                found[statement.targets[0].id] = _literal(statement.value)
            except ValueError:
                continue
    return found


def _literal(node: ast.expr):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {ast.literal_eval(key): _literal(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(value) for value in node.elts]
    return ast.literal_eval(node)


def _by_epoch(train_cfg: dict) -> bool:
    kind = type_name(train_cfg)
    return 'Iter' not in kind if kind else train_cfg.get('by_epoch', True)


def _get(settings, key: str):
    for part in key.split('.'):
        settings = settings.get(part) if isinstance(settings, dict) else None
    return 'OptimWrapper' if settings is None and key == 'optim_wrapper.type' else settings


def _changed_settings(saved: list[dict], fresh: list[dict]) -> dict[str, str]:
    """By the name of a setting, from which value to which it goes, in the first group where it does."""
    changed: dict[str, str] = {}
    for old, new in zip(saved, fresh):
        base = {name: group.get('initial_lr', group['lr']) for name, group in (('old', old), ('new', new))}
        pairs = {'learning rate': (base['old'], base['new']), **{
            key: (old[key], new[key]) for key in old.keys() & new.keys() - {'params', 'lr', 'initial_lr'}}}
        for name, (before, now) in pairs.items():
            if _plain(before) != _plain(now):
                changed.setdefault(name, f'{before} -> {now}')
    return changed


def _settings(state: dict) -> dict:
    return {key: _plain(value) for key, value in state.items() if key not in _PROGRESS}


def _plain(value):
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value
