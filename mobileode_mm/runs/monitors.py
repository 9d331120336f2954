"""Metrics that hooks and schedules wait for, against those that the evaluators give."""
import difflib
import traceback
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, ParamSchedulerHook

from ..errors import InputError, listed
from .config import schedules, type_name
from .consistency.heads import evaluators
from .options import classes_of, hooks

#: What ReduceOnPlateau waits for by default: seldom a metric of a validation.
_PLATEAU = 'loss'
_COCO = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_RECALLS = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
_IOU = {'mIoU': ('mIoU', 'mAcc'), 'mDice': ('mDice', 'mAcc'), 'mFscore': ('mFscore', 'mPrecision', 'mRecall')}
#: Functions of MMEngine that look a metric up.
_LOOKING_UP = ('_save_best_checkpoint', 'after_val_epoch', 'step')


def check_monitors(cfg: Config) -> None:
    """InputError where a hook or a schedule waits for a metric that no evaluator of val gives.

    MMEngine finds out after the first validation, or, in EarlyStoppingHook, warns and goes on. Where an evaluator is
    not known here, nothing is judged.
    """
    names = _metric_names(cfg)
    if names is None:
        return
    for key, wanted in _monitored(cfg):
        is_loss = 'loss' in wanted and wanted != _PLATEAU  # a network may give some in validation too
        if wanted == 'auto' or is_loss or any(fnmatchcase(wanted, name) for name in names):
            continue
        # Other versions have other prefixes: the last part says most.
        near = [name for name in names if name.rsplit('/', 1)[-1] == wanted.rsplit('/', 1)[-1]]
        near = near or difflib.get_close_matches(wanted, names, 2)
        hint = f'nearest: {listed(near)}. ' if near else ''
        raise InputError(f'{key} is {wanted!r}, and val_evaluator gives no such metric; {hint}It gives '
                         f'{listed(names, 20)}')


def unused_monitors(cfg: Config) -> list[str]:
    """Keys of a config without validation that wait for metrics of one: MMEngine says nothing of them."""
    return [] if cfg.get('val_cfg') is not None else [key for key, _ in _monitored(cfg)]


def monitor_fault(error: Exception) -> str | None:
    """What a hook did not find among the metrics of a validation; None for another error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or frames[-1].f_code.co_name not in _LOOKING_UP:
        return None
    for frame in frames:
        hook, metrics = frame.f_locals.get('self'), frame.f_locals.get('metrics')
        if frame.f_code.co_name == 'after_val_epoch' and isinstance(metrics, dict) and isinstance(error, (
                RuntimeError if isinstance(hook, EarlyStoppingHook) else KeyError)) and isinstance(
                    hook, (CheckpointHook, EarlyStoppingHook, ParamSchedulerHook)):
            return (f'{type(hook).__name__} wants a metric that the validation does not give: {error.args[0]}. It '
                    f'gives {listed(metrics, 20) or "none"}')
    return None


def _monitored(cfg: Config) -> Iterator[tuple[str, str]]:
    """Keys of the config that name metrics, and the names."""
    for key, hook in hooks(cfg):
        name = {'CheckpointHook': 'save_best', 'EarlyStoppingHook': 'monitor'}.get(type_name(hook))
        wanted = hook.get(name) if name else None
        yield from ((f'{key}.{name}', one) for one in ([wanted] if isinstance(wanted, str) else wanted or []))
    for key, schedule in schedules(cfg):
        if type_name(schedule).startswith('ReduceOnPlateau'):
            yield f'{key}.monitor', schedule.get('monitor', _PLATEAU)


def _metric_names(cfg: Config) -> list[str] | None:
    """Names, or patterns of names, of all metrics of a validation; None where one of its parts is not known."""
    evaluator = cfg.get('val_evaluator')
    if type_name(cfg.get('val_cfg') or {}) not in ('', 'ValLoop') or not evaluator or (
            isinstance(evaluator, dict) and 'metrics' in evaluator and type_name(evaluator) not in ('', 'Evaluator')):
        return None
    found = []
    for _, metric in evaluators(cfg, 'val'):
        names = _NAMES.get(type_name(metric))
        kind = next((kind for kind in classes_of(metric.get('type'))
                     if isinstance(kind, type) and issubclass(kind, BaseMetric)), None)
        if names is None or kind is None:
            return None
        prefix = metric.get('prefix') or kind.default_prefix
        found += [f'{prefix}/{name}' if prefix else name for name in names(metric)]
    return found or None


def _coco(metric: dict) -> Iterator[str]:
    kinds, items = metric.get('metric', 'bbox'), metric.get('metric_items')
    if metric.get('format_only'):
        return
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind == 'proposal_fast':
            yield from (f'AR@{number}' for number in metric.get('proposal_nums', (100, 300, 1000)))
        elif kind == 'proposal':
            yield from items or _RECALLS
        else:
            yield from (f'{kind}_{name}' for name in items or _COCO)
    if metric.get('classwise'):
        yield '*_precision'


def _voc(metric: dict) -> Iterator[str]:
    thresholds = metric.get('iou_thrs', 0.5)
    thresholds = [thresholds] if isinstance(thresholds, float) else thresholds
    if metric.get('metric', 'mAP') in ('mAP', ['mAP']):
        yield from ('mAP', *(f'AP{int(threshold * 100):02d}' for threshold in thresholds))
    else:
        yield from ('recall@*', 'AR@*')


def _iou(metric: dict) -> Iterator[str]:
    if metric.get('format_only'):
        return
    kinds = metric.get('iou_metrics', ['mIoU'])
    yield from dict.fromkeys(['aAcc', *(name for kind in ([kinds] if isinstance(kinds, str) else kinds)
                                        for name in _IOU.get(kind, ()))])


def _accuracy(metric: dict) -> Iterator[str]:
    topk = metric.get('topk', (1, ))
    for number in [topk] if isinstance(topk, int) else topk:
        yield from (f'top{number}{suffix}' for suffix in _thresholds(metric))


def _single_label(metric: dict) -> Iterator[str]:
    average = metric.get('average', 'macro')
    end = {None: '_classwise', 'micro': '_micro'}.get(average, '')
    for item in metric.get('items', ('precision', 'recall', 'f1-score')):
        yield from (f'{item}{suffix}{end}' for suffix in _thresholds(metric))


def _thresholds(metric: dict) -> list[str]:
    """What mmpretrain adds to a metric's name for each of several thresholds."""
    thresholds = metric.get('thrs', 0.)
    if not isinstance(thresholds, (list, tuple)) or len(thresholds) == 1:
        return ['']
    return ['_no-thr' if threshold is None else f'_thr-{threshold:.2f}' for threshold in thresholds]


_NAMES: dict[str, Callable[[dict], Iterator[str]]] = {
    'CocoMetric': _coco, 'VOCMetric': _voc, 'IoUMetric': _iou, 'Accuracy': _accuracy,
    'SingleLabelMetric': _single_label}
