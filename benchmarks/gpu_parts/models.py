"""Backbones, detectors and segmentors beside those of MobileNetV2 and V3: training steps, inference, memory."""
import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

from .. import ROOT
from ..output import number, table
from ..speed.compare import DTYPES, measure
from ..speed.models import model_cases
from ..speed.report import MEGABYTE, add_ratios
from ..speed.variants import Case as Comparison
from ..speed.variants import Settings, backbone_cases
from .part import Case, Plan, table_of

TITLE = 'Networks'
BACKBONES = ('MobileODEV1:triton', 'MobileODEV1:operators', 'MobileODEV2:triton', 'mmpretrain.MobileNetV3',
             'mmdet.MobileNetV2')
MODELS = {
    'detector': ('ssdlite_mobileode.py:triton', 'ssdlite_mobileode.py:operators', 'peers/ssdlite_mobilenetv3.py',
                 'peers/ssdlite_mobilenetv2.py'),
    'segmentor': ('deeplabv3_mobileode.py:triton', 'peers/deeplabv3_mobilenetv3.py', 'peers/deeplabv3_mobilenetv2.py'),
}
#: In a dry run: what needs neither the interpreter, which is slow, nor much of a processor.
DRY_BACKBONES = ('MobileODEV1:operators', 'MobileNetV1')
DRY_MODELS = {'detector': ('ssdlite_mobileode_mini.py:operators', )}
#: Images that the numbers are compared on, before others are timed.
CHECKED = 2
ROUNDS, SECONDS = 5, 0.05


def cases(plan: Plan) -> Iterator[Case]:
    """The detector's training step with mixed precision first, then what is less asked for, compiled networks last."""
    half = 'float32' if plan.is_dry else 'float16'
    graph = ('eager', ) if plan.is_dry else ('eager', 'graph')
    sizes = dict(detector=(96, 96), backbone=(64, 32)) if plan.is_dry else dict(backbone=(320, 320))
    batches = dict(detector=2, backbone=2) if plan.is_dry else dict(detector=32, segmentor=8, backbone=32)

    def case(subject: str, train: bool, dtype: str, paths: tuple[str, ...], batch: int | None = None,
             num_steps: int | None = None) -> Case:
        settings = Settings(train, paths, batch or batches[subject], DTYPES[dtype], plan.device)
        steps = f', L = {num_steps}' if num_steps else ''
        title = f'{subject}, {settings.mode}, {dtype}{" (amp)" * (train and dtype != "float32")}, batch ' \
                f'{settings.batch}, {" and ".join(paths)}{steps}'
        if subject == 'backbone':
            names = DRY_BACKBONES if plan.is_dry else BACKBONES
            if num_steps:
                names = tuple(name for name in names if 'ODEV1' in name)
            make = functools.partial(_backbones, names, sizes[subject], num_steps)
        else:
            make = functools.partial(_models, subject, (DRY_MODELS if plan.is_dry else MODELS)[subject],
                                     sizes.get(subject))
        return Case(title, functools.partial(_measure, settings, make, plan.is_dry, num_steps is None))

    yield case('detector', True, half, ('eager', ))
    yield case('backbone', False, half, graph)
    if plan.is_dry:
        return
    yield case('backbone', True, half, graph)
    yield case('detector', False, half, ('eager', ))
    yield case('backbone', True, half, ('eager', ), 8, 60)
    yield case('segmentor', True, half, ('eager', ))
    yield case('detector', True, 'float32', ('eager', ))
    yield case('segmentor', False, half, ('eager', ))
    yield case('backbone', True, 'float32', graph)
    yield case('backbone', False, 'float32', graph)
    yield case('detector', True, 'bfloat16', ('eager', ))
    yield case('backbone', False, half, ('compiled', ))
    yield case('backbone', True, half, ('compiled', ))
    yield case('detector', True, half, ('compiled', ))
    yield case('segmentor', True, half, ('compiled', ))
    yield case('detector', True, half, ('eager', ), 8)
    yield case('backbone', True, half, ('eager', ), 8)


def markdown(rows: list[dict]) -> str:
    """A table a case."""
    parts = ['CUDA events, medians of rounds in turn; ÷: over the last network of the table, on the same path. Numbers '
             f'are compared with the same weights on a plain path at a batch of {CHECKED}, but for many steps.']
    for row in rows:
        lines = [[variant['label'], number(variant.get('median_ms')), number(variant.get('ratio')),
                  number(None if variant['peak_bytes'] is None else variant['peak_bytes'] / MEGABYTE),
                  number(None if variant['saved_bytes'] is None else variant['saved_bytes'] / MEGABYTE),
                  variant['error'] or ''] for variant in row.get('variants', [])]
        head = ['network', 'ms', '÷', 'peak, MB', 'saved for backward, MB', 'fault']
        parts += [f'## {row["case"]}', table(head, lines) if lines else table_of([row], {})]
    return '\n\n'.join(parts)


def _backbones(names: tuple[str, ...], size: tuple[int, int], num_steps: int | None, settings: Settings) -> Comparison:
    return backbone_cases(settings, names, size, (num_steps, ))[0]


def _models(subject: str, names: tuple[str, ...], size: tuple[int, int] | None, settings: Settings) -> Comparison:
    return model_cases(settings, subject, [str(ROOT / 'configs' / name) for name in names], size)[0]


def _measure(settings: Settings, make: Callable[[Settings], Comparison], is_dry: bool, is_compared: bool) -> dict:
    """``is_compared``: not with many steps, through which half precision's rounding grows (by torch's own operators to
    0.15 of the norm at 60); ``parity`` compares such layers."""
    comparison, wrong = make(settings), {}
    small = replace(settings, batch=CHECKED)
    if is_compared and settings != small:
        wrong = {variant['label']: variant for variant in measure(make(small), small, 0, 0.0)['variants']
                 if variant['error']}
    if not is_compared or settings != small:
        variants = comparison.variants
        comparison = replace(comparison, variants=lambda: [
            replace(variant, expected=None) for variant in variants() if variant.label not in wrong])
    result = measure(comparison, settings, 1 if is_dry else ROUNDS, 0.0 if is_dry else SECONDS)
    labels = [variant['label'] for variant in result['variants']]
    add_ratios(result, [labels[-1].rpartition('/')[0]] if labels else [])
    for variant in result['variants']:
        path = variant['label'].rpartition('/')[2]
        variant['ratio'] = next((ratio['median'] for label, ratio in variant.get('ratios', {}).items()
                                 if label.rpartition('/')[2] == path), None)
    found = [*result['variants'], *wrong.values()]
    faults = [f'{variant["label"]}: {variant["error"]}' for variant in found if variant['error']]
    return dict(variants=found, error='; '.join(faults) or None)
