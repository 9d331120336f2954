"""One layer: the solver by each backend, the 1×1 convolution in its place, and a copy of as many bytes."""
import functools
from collections.abc import Iterator
from dataclasses import replace

import torch

from mobileode_mm.ode.backends import gpus

from ..output import number, table
from ..speed.compare import DTYPES, measure
from ..speed.report import add_ratios
from ..speed.variants import LAYER_SHAPES, Settings, Variant, layer_cases, parse_layer
from ..speed.variants import Case as Comparison
from .part import Case, Plan, table_of

TITLE = 'Layers'
#: Variants and the paths that each runs on. The CUDA graph is the GPU's time, without the processor's between kernels.
VARIANTS = {'cos:triton': ('eager', 'graph'), 'cos:operators': ('eager', 'compiled', 'graph'),
            'cos:reference': ('eager', ), 'pointwise': ('eager', 'graph'), 'copy': ('eager', )}
BATCHES = (1, 32)
ROUNDS, SECONDS = 7, 0.02


def cases(plan: Plan) -> Iterator[Case]:
    """Shapes of MobileODE V1 first, then V2's; half precision first. A batch of one is compared with the reference, and
    what is wrong there is not timed in the larger one."""
    shapes = ('9-16-1x2', ) if plan.is_dry else LAYER_SHAPES
    dtypes = {'float32': torch.float32} if plan.is_dry else {name: DTYPES[name] for name in
                                                           ('float16', 'float32', 'bfloat16')}
    wrong: dict[tuple, set[str]] = {}
    for group in [shapes[:4], shapes[4:]]:
        for name, dtype in dtypes.items():
            for shape in group:
                for train in (False, True):
                    for batch in (1 + (not train), ) if plan.is_dry else BATCHES:
                        settings = Settings(train, ('eager', ), batch, dtype, plan.device)
                        title = f'{shape}, {settings.mode}, {name}, batch {batch}'
                        known = wrong.setdefault((shape, train, name), set())
                        yield Case(title, functools.partial(_measure, settings, shape, known, batch == 1, plan.is_dry))


def markdown(rows: list[dict]) -> str:
    """Milliseconds and times over the copy, a line a case; then what failed, and what the table of GPUs takes."""
    labels = list(dict.fromkeys(label for row in rows for label in row.get('ms', {})))
    lines = [[row['case'], number(row['gigabytes_per_second']),
              *(f'{number(row["ms"][label])} ({number(row["over_copy"].get(label))})' if label in row['ms'] else '–'
                for label in labels)] for row in rows if row.get('ms')]
    parts = ['Milliseconds of a call, and in brackets times over that of a copy of input and output (training: three '
             'times as many bytes): 1 over that is the share of the copy\'s bandwidth, which stands in the second '
             'column. CUDA events, medians of rounds in turn.',
             table(['layer', 'copy, GB/s', *labels], lines)]
    ratios = over_operators(rows)
    if ratios:
        parts += ['Triton over the faster of torch\'s operators, eager and compiled (geometric means):',
                  table(['call', 'ratio'], [[call, number(ratio)] for call, ratio in ratios.items()])]
    failed = [row for row in rows if row['error'] is not None]
    return '\n\n'.join(parts + (['## Failed', table_of(failed, {})] if failed else []))


def over_operators(rows: list[dict]) -> dict[str, float]:
    """Time of the kernels over that of torch's operators, eager or compiled, by :func:`gpus.kind_of_call`."""
    found: dict[str, list[float]] = {}
    for row in rows:
        times = row.get('ms', {})
        ours = times.get('cos:triton/eager')
        theirs = [times[label] for label in ('cos:operators/eager', 'cos:operators/compiled') if label in times]
        if ours and theirs:
            found.setdefault(row['call'], []).append(ours / min(theirs))
    return {call: float(torch.tensor(ratios).log().mean().exp()) for call, ratios in found.items()}


def _measure(settings: Settings, shape: str, wrong: set[str], is_checked: bool, is_dry: bool) -> dict:
    case, = layer_cases(settings, [shape], ['copy'])

    def variants() -> list[Variant]:
        chosen = []
        for name, paths in VARIANTS.items():
            paths = tuple(path for path in paths if path != 'graph' or settings.device.type == 'cuda')
            chosen += layer_cases(replace(settings, paths=paths), [shape], [name])[0].variants()
        chosen = [variant for variant in chosen if variant.label not in wrong]
        return chosen if is_checked else [replace(variant, expected=None) for variant in chosen]

    result = measure(Comparison('layer', case.title, case.num_steps, variants), settings, 1 if is_dry else ROUNDS,
                     0.0 if is_dry else SECONDS)
    add_ratios(result, ['copy'])
    faults = {variant['label']: variant['error'] for variant in result['variants'] if variant['error']}
    wrong |= faults.keys()
    timed = {variant['label']: variant for variant in result['variants'] if 'median_ms' in variant}
    channels_in, channels_out, size = parse_layer(shape)
    moved = settings.batch * (channels_in + channels_out) * size[0] * size[1] * torch.finfo(settings.dtype).bits // 8
    copied = moved * (3 if settings.train else 1) / (timed['copy']['median_ms'] / 1000)
    return dict(
        call=gpus.kind_of_call(settings.train, settings.dtype), batch=settings.batch, shape=shape,
        ms={label: variant['median_ms'] for label, variant in timed.items()},
        over_copy={label: variant['ratios']['copy']['median'] for label, variant in timed.items()},
        differences={variant['label']: variant['difference'] for variant in result['variants']},
        peak_bytes={label: variant['peak_bytes'] for label, variant in timed.items()},
        saved_bytes={label: variant['saved_bytes'] for label, variant in timed.items()},
        gigabytes_per_second=copied / 1e9,
        error='; '.join(f'{label}: {fault}' for label, fault in faults.items()) or None)
