"""One layer: the solver by each backend, the 1×1 convolution in its place, and a copy of as many bytes."""
import functools
import itertools
from collections.abc import Iterator, Sequence
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
VARIANTS = {'cos:triton': ('eager', 'graph'), 'cos:operators': ('eager', 'graph'), 'cos:reference': ('eager', ),
            'pointwise': ('eager', 'graph'), 'copy': ('eager', )}
#: What decides which of the two the solver takes; compiling takes longest, and so these have cases of their own.
COMPILED = {'cos:triton': ('eager', ), 'cos:operators': ('eager', 'compiled'), 'copy': ('eager', )}
BATCHES = (1, 32)
ROUNDS, SECONDS = 7, 0.02


def cases(plan: Plan) -> Iterator[Case]:
    """First what the table of GPUs asks: the compiled operators too, of one layer; then V1's layers, then the others.

    A batch of one is compared with the reference, and what is wrong there is not timed in the larger one. What the
    compiler makes is timed without a comparison.
    """
    def sweep(shapes: Sequence[str], dtypes: Sequence[str], variants: dict[str, tuple[str, ...]],
              batches: Sequence[int] = BATCHES) -> Iterator[Case]:
        for dtype, shape, train in itertools.product(dtypes, shapes, (False, True)):
            wrong: set[str] = set()
            for batch in batches:
                settings = Settings(train, ('eager', ), batch, DTYPES[dtype], plan.device)
                title = f'{shape}, {settings.mode}, {dtype}, batch {batch}{", compiled" * (variants is COMPILED)}'
                yield Case(title, functools.partial(_measure, settings, shape, variants, wrong, plan.is_dry))

    if plan.is_dry:
        yield from sweep(['9-16-1x2'], ['float32'], VARIANTS, [1])
        yield from sweep(['9-16-1x2'], ['float32'], COMPILED, [2])
        return
    first, others = LAYER_SHAPES[:4], LAYER_SHAPES[4:]
    yield from sweep(first[:1], ['float16', 'float32', 'bfloat16'], COMPILED, BATCHES[-1:])
    yield from sweep(first, ['float16'], VARIANTS)
    yield from sweep(first, ['float32', 'bfloat16'], VARIANTS)
    yield from sweep(others, ['float16', 'float32', 'bfloat16'], VARIANTS)
    yield from sweep((*first[1:], *others), ['float16', 'float32', 'bfloat16'], COMPILED, BATCHES[-1:])


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
    """Time of the kernels over that of torch's operators, eager or compiled, by :func:`gpus.kind_of_call`.

    Only of layers of which both have been measured.
    """
    found: dict[str, list[float]] = {}
    for row in rows:
        times = row.get('ms', {})
        ours = times.get('cos:triton/eager')
        theirs = times.get('cos:operators/eager'), times.get('cos:operators/compiled')
        if ours and all(theirs):
            found.setdefault(row['call'], []).append(ours / min(theirs))
    return {call: float(torch.tensor(ratios).log().mean().exp()) for call, ratios in found.items()}


def _measure(settings: Settings, shape: str, names: dict[str, tuple[str, ...]], wrong: set[str], is_dry: bool) -> dict:
    case, = layer_cases(settings, [shape], ['copy'])

    def variants() -> list[Variant]:
        chosen = []
        for name, paths in names.items():
            paths = tuple(path for path in paths if path != 'graph' or settings.device.type == 'cuda')
            chosen += layer_cases(replace(settings, paths=paths), [shape], [name])[0].variants()
        chosen = [variant for variant in chosen if variant.label not in wrong]
        return chosen if settings.batch == 1 else [replace(variant, expected=None) for variant in chosen]

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
