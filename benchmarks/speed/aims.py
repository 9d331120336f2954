"""What was wanted of the solver and of the networks on a CPU, beside what ``docs/results`` says was measured.

Read from the results that ``mobileode bench-torch --page`` leaves; ``benchmarks/results_page.py`` puts the table onto
its page.
"""

from pathlib import Path

from mobileode_mm.data.json_file import read_json

from ..output import number, table

NAME = 'aims'
_PATHS = ('eager', 'deploy', 'compiled')
#: What is divided, the aim, the results, and the variants: ours, and what it is divided by, on the same path or on one.
_RATIOS = (
    ('solver over the 1×1 convolution, geometric mean of eight shapes', '0.5 compiled', 'torch-layers',
     'cos', 'pointwise'),
    ('solver over the one as released, which is eager', '0.25 eager, 0.125 compiled', 'torch-layers',
     'cos', 'naive/eager'),
    ('backbone, MobileODE V1 over MobileNetV2', '0.7 compiled', 'torch-backbones', 'MobileODEV1', 'mmdet.MobileNetV2'),
    ('backbone, MobileODE V2 over MobileNetV2', '–', 'torch-backbones', 'MobileODEV2', 'mmdet.MobileNetV2'),
    ('SSDLite, MobileODE V1 over MobileNetV2', '1', 'torch-detectors', 'ssdlite_mobileode', 'ssdlite_mobilenetv2'),
    ('DeepLabV3, MobileODE V1 over MobileNetV2', '–', 'torch-segmentors', 'deeplabv3_mobileode',
     'deeplabv3_mobilenetv2'),
    ('a training step of these backbones, V1', '1', 'torch-backbones-train', 'MobileODEV1', 'mmdet.MobileNetV2'),
    ('a training step of these detectors', '1', 'torch-detectors-train', 'ssdlite_mobileode', 'ssdlite_mobilenetv2'),
    ('a training step of these segmentors', '–', 'torch-segmentors-train', 'deeplabv3_mobileode',
     'deeplabv3_mobilenetv2'),
)
_STEPS = 'torch-backbones-steps'


def markdown(folder: Path) -> str | None:
    """The table, from the results in a folder; None where some are not there."""
    names = {name for _, _, name, *_ in _RATIOS} | {_STEPS}
    paths = {name: folder / f'{name}.json' for name in names}
    if not all(path.is_file() for path in paths.values()):
        return None
    results = {name: read_json(path) for name, path in paths.items()}
    rows = []
    for what, wanted, name, ours, base in _RATIOS:
        means = results[name]['geometric_means']
        found = [means.get(f'{ours}/{path}', {}).get(base if '/' in base else f'{base}/{path}') for path in _PATHS]
        rows.append([what, wanted, *map(number, found)])
    rows.insert(1, ['the same where it keeps the width, lowest to highest', '1 compiled',
                    *(_lowest_to_highest(results['torch-layers'], path) for path in _PATHS)])
    saved = number(_saved(results[_STEPS]))
    rows.append(['saved for the backward pass of V1, L = 12 over L = 3', '1.15', saved, '–', '–'])
    return table(['', 'wanted', *_PATHS], rows)


def _lowest_to_highest(layers: dict, path: str) -> str:
    """Over the layers with as many channels behind as before."""
    ratios = []
    for case in layers['cases']:
        before, after = case['title'].split(',')[0].split('→')
        if before == after:
            ratios += [variant['ratios'][f'pointwise/{path}']['median'] for variant in case['variants']
                       if variant['label'] == f'cos/{path}']
    return f'{number(min(ratios))} to {number(max(ratios))}' if ratios else '–'


def _saved(steps: dict) -> float:
    saved = {case['num_steps']: variant['saved_bytes'] for case in steps['cases'] for variant in case['variants']
             if variant['label'] == 'MobileODEV1/eager'}
    return saved[12] / saved[3]
