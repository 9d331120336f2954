"""Figures in sentences of README.md and the pages of docs/, from docs/results.

A sentence has them between marks, ``<!-- = NAME -->1.35<!-- = -->``, where NAME is one of :data:`FIGURES`.
"""
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

RESULTS = Path(__file__).resolve().parents[1] / 'docs/results'
MARKED = re.compile(r'(<!-- = ([\w-]+) -->)[^<]*(<!-- = -->)')
V1, EDGE, PEER = 'ssdlite_mobileode', 'ssdlite_mobileode_edge', 'ssdlite_mobilenetv2'


@functools.cache
def _results(name: str):
    return json.loads((RESULTS / f'{name}.json').read_text())


def _mean(suite: str, task: str, backbone: str) -> float:
    """The first metric of a network over its seeds, per cent."""
    return next(network['metrics'][0]['mean'] for network in _results(suite)['networks']
                if (network['task'], network['backbone']) == (task, backbone))


def _by_seed(suite: str, backbone: str, epoch: int = 0) -> list[float]:
    """Top-1 accuracy of each seed's classifier, per cent, in the end or after an epoch."""
    return [(run['curve'][epoch - 1] if epoch else run['metrics'])['accuracy/top1'] for run in _results(suite)['runs']
            if (run['task'], run['backbone']) == ('classification', backbone)]


def _leads(suite: str, ahead: str, behind: str, epoch: int = 0) -> str:
    """By how much one classifier is ahead of another, seed by seed: the least and the most."""
    pairs = zip(_by_seed(suite, ahead, epoch), _by_seed(suite, behind, epoch), strict=True)
    leads = [one - other for one, other in pairs]
    return f'{min(leads):.1f} to {max(leads):.1f}'


def _spread(suite: str, backbone: str) -> float:
    return max(_by_seed(suite, backbone)) - min(_by_seed(suite, backbone))


def _file(bench: str, network: str, kind: str) -> dict:
    """What a table of files holds of one of them."""
    return next(file for file in _results(bench)['variants'] if (file['network'], file['kind']) == (network, kind))


def _over_peer(network: str, threads: int) -> float:
    """Time of an ONNX file over that of MobileNetV2's."""
    return _file('bench', network, 'onnx')['timed'][str(threads)]['ratios'][f'{PEER}/onnx']['median']


def _int8_time(network: str) -> float:
    """Time of a file of eight bits over that of float32, on one thread."""
    eight, float32 = (_file('bench-int8', network, kind)['timed']['1']['median_ms'] for kind in ('onnx-int8', 'onnx'))
    return eight / float32


def _file_ap(network: str, kind: str = 'onnx') -> float:
    return 100 * _file('bench-int8', network, kind)['metrics']['coco/bbox_mAP']


def _lost_by_int8(network: str) -> float:
    return _file_ap(network) - _file_ap(network, 'onnx-int8')


def _without_solvers(network: str) -> float:
    """Milliseconds of a file's operators, but of those that compute a solver by our kernel."""
    found = _results('operators-kernel')['found'][network]
    return sum(milliseconds for operator, (_, milliseconds) in found.items() if operator != 'ChannelwiseODESolver')


def _trees(model: str) -> float:
    """AP50 of a model's networks of all seeds on the photographs of trees."""
    return fmean(run['metrics']['AP50'] for run in _results('fits-trees')['runs'] if run['model'] == model)


def _long(steps: int, computed_by: str, column: str) -> float:
    """A cell of the table of solvers of many steps."""
    table = _results('long-solvers')[0]
    row = next(row for row in table['rows'] if row[:2] == [str(steps), computed_by])
    return float(row[table['head'].index(column)].split()[0])


def _prebuilt(instructions: str) -> str:
    """Time of a wheel's kernels over that of compiled ones: geometric means of training and of inference."""
    table = _results('prebuilt')[0]
    column = table['head'].index(f'{instructions} ÷ native')
    means = [float(row[column]) for row in table['rows'] if 'geometric mean' in row[0]]
    return f'{min(means):.1f} to {max(means):.1f}'


def _gpu(variant: str, mode: str) -> str:
    """Times over that of a copy, which stand in brackets in the table of layers on a GPU: least and most, batch 32."""
    text = next(text for text in _results('gpu-layers') if isinstance(text, str) and f'| {variant} |' in text)
    rows = [line.strip('| ').split(' | ') for line in text.splitlines() if line.startswith('|')]
    column = rows[0].index(variant)
    times = [float(row[column].split('(')[1].strip(')')) for row in rows
             if re.search(f'{mode}, float16, batch 32$', row[0])]
    return f'{min(times):.1f} to {max(times):.1f}'


def _macs(config: str) -> str:
    """Multiply-adds of a config's network, in millions."""
    return f'{_results("complexity")[f"configs/{config}.py"]["macs"] / 1e6:,.0f}'


FIGURES: dict[str, Callable[[], str]] = {
    'onnx-v1-1': lambda: f'{_over_peer(V1, 1):.2f}',
    'onnx-v1-2': lambda: f'{_over_peer(V1, 2):.2f}',
    'onnx-edge-1': lambda: f'{_over_peer(EDGE, 1):.2f}',
    'onnx-edge-2': lambda: f'{_over_peer(EDGE, 2):.2f}',
    'demo-top1-v1': lambda: f'{_mean("demo", "classification", "MobileODE V1"):.1f}',
    'demo-top1-peer': lambda: f'{_mean("demo", "classification", "MobileNetV2"):.1f}',
    'demo-miou-v1': lambda: f'{_mean("demo", "segmentation", "MobileODE V1"):.1f}',
    'demo-miou-peer': lambda: f'{_mean("demo", "segmentation", "MobileNetV2"):.1f}',
    'trees-peer-again': lambda: f'{_by_seed("trees", "MobileNetV2")[2]:.1f}',
    'peers-peer-again': lambda: f'{_by_seed("peers", "MobileNetV2")[2]:.1f}',
    'mini-peer-spread': lambda: f'{_spread("mini", "MobileNetV3-Large"):.0f}',
    'norm-leads': lambda: _leads('ablation_norm', 'V1, position norm', 'V1, channel norm'),
    'resize-leads': lambda: _leads('ablation_resize', 'V2, bicubic', 'V2, bilinear'),
    'v2-lag-early': lambda: _leads('v2', 'V1', 'V2', 2),
    'v2-lag': lambda: _leads('v2', 'V1', 'V2'),
    'v2-bicubic-early': lambda: _leads('v2', 'V2, bicubic', 'V2', 2),
    **{f'heads-{task}': lambda task=task: f'{_mean("heads", task, "MobileODE V1"):.1f}'
       for task in ('ssdlite', 'rtmdet', 'trees', 'rtmdet_trees')},
    'heun-lead': lambda: '{:.1f}'.format(_mean('ablation_solver', 'classification', 'V1, Heun') -
                                         _mean('ablation_solver', 'classification', 'V1, Euler')),
    'expansion-spread': lambda: f'{_spread("ablation_expansion", "V1, e = 4"):.0f}',
    'int8-time-v1': lambda: f'{_int8_time(V1):.2f}',
    'int8-time-edge': lambda: f'{_int8_time(EDGE):.2f}',
    'int8-time-peer': lambda: f'{_int8_time(PEER):.2f}',
    'int8-loss-v1': lambda: f'{_lost_by_int8(V1):.1f}',
    'int8-loss-others': lambda: f'{max(map(_lost_by_int8, (EDGE, PEER))):.1f}',
    'int8-ap-v1': lambda: f'{_file_ap(V1):.1f}',
    'int8-ap-aware': lambda: f'{_file_ap(f"{V1}_aware", "onnx-int8"):.1f}',
    'no-solvers-v1': lambda: f'{_without_solvers(f"{V1}.ops"):.1f}',
    'no-solvers-peer': lambda: f'{_without_solvers(PEER):.1f}',
    'no-solvers-ratio': lambda: f'{_without_solvers(f"{V1}.ops") / _without_solvers(PEER):.2f}',
    'trees-v1': lambda: f'{_trees("mobileode_v1"):.3f}',
    'trees-edge': lambda: f'{_trees("mobileode_v1_edge"):.3f}',
    'trees-peer': lambda: f'{_trees("mobilenet_v2"):.3f}',
    'edge-ap-v1': lambda: f'{_mean("edge", "detection", "MobileODE V1"):.1f}',
    'edge-ap-edge': lambda: f'{_mean("edge", "detection", "MobileODE V1 edge"):.1f}',
    'edge-ap-peer': lambda: f'{_mean("edge", "detection", "MobileNetV2"):.1f}',
    'gpu-detector': lambda: '{:.2f}'.format(
        _results('torch-gpu-detector')['geometric_means'][f'{V1}:triton/eager'][f'{PEER}/eager']),
    'gpu-solver-infer': lambda: _gpu('cos:triton/graph', 'infer'),
    'gpu-solver-train': lambda: _gpu('cos:triton/graph', 'train'),
    'gpu-pointwise-infer': lambda: _gpu('pointwise/graph', 'infer'),
    'gpu-pointwise-train': lambda: _gpu('pointwise/graph', 'train'),
    'long-time': lambda: f'{_long(60, "cpu", "÷ reference"):.2f}',
    'long-kernel-memory': lambda: f'{_long(60, "cpu", "peak, MB"):.0f}',
    'long-plain-memory': lambda: f'{_long(60, "reference", "peak, MB"):,.0f}',
    'operators-over-kernels': lambda: f'{_long(3, "operators", "ms") / _long(3, "cpu", "ms"):.1f}',
    'prebuilt-avx2': lambda: _prebuilt('AVX2'),
    'prebuilt-sse2': lambda: _prebuilt('x86-64'),
    'macs-v1': lambda: _macs('classify_mobileode'),
    'macs-v2': lambda: _macs('classify_mobileode_v2'),
    'macs-peer': lambda: _macs('peers/classify_mobilenetv2'),
}


def with_figures(page: str) -> str:
    """A page with the figures between marks written anew.

    Raises:
        KeyError: A mark has a name that is none of ``FIGURES``.
    """
    return MARKED.sub(lambda match: f'{match[1]}{FIGURES[match[2]]()}{match[3]}', page)
