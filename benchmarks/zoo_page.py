"""The page of all configs, from their metafile, their counts and the results of a suite.

``python benchmarks/zoo_page.py`` writes it; with ``--count`` the networks are counted anew first, with ``--time``
timed.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml

from benchmarks.complexity.from_config import count_config
from benchmarks.machine import OtherPrograms
from benchmarks.output import number, table, write_json
from benchmarks.speed.networks import time_networks, timed
from benchmarks.suites.table import latency_note, summary
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.memory import keep_freed_memory
from mobileode_mm.runs.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'zoo.md'
COUNTS = ROOT / 'docs' / 'results' / 'complexity.json'
TIMES = ROOT / 'docs' / 'results' / 'zoo.json'
ROUNDS = 7
_TASKS = {'classify': 'Classification', 'ssdlite': 'Detection: SSDLite', 'rtmdet': 'Detection: RTMDet',
          'deeplabv3': 'Segmentation: DeepLabV3'}
_HEAD = """# Model zoo

Written by `python benchmarks/zoo_page.py --count --time` from [configs/metafile.yml](../configs/metafile.yml),
[results/complexity.json](results/complexity.json), [results/zoo.json](results/zoo.json) and
[results/mini.json](results/mini.json).

No weights are published. None of the configs at full scale has been trained to its end here, so that they have no
metrics; those of the mini data are measured. Parameters are those that inference reads, multiply-adds (MACs) those of
one image of the size beside them, from the pixels to the heads' maps ([complexity.md](complexity.md#what-is-counted)).
Milliseconds are for comparing the configs of a table; against each other in one process, with quartiles and on two
threads, they are in [performance.md](performance.md) and [deploy.md](deploy.md#how-fast).

```bash
mobileode verify CONFIG      # are its data there, and right?
mobileode train CONFIG
mobileode test CONFIG CHECKPOINT
```
"""


def models() -> list[dict]:
    """Entries of the metafile."""
    return yaml.safe_load((ROOT / 'configs' / 'metafile.yml').read_text())['Models']


def count_networks() -> dict[str, dict]:
    """By config: size of the image (height, width), parameters, multiply-adds of one image. Takes a minute or two."""
    counted = {}
    for model in models():
        complexity, shape = count_config(ROOT / model['Config'])
        counted[model['Config']] = dict(input_size=shape, parameters=complexity.parameters, macs=complexity.cost.macs)
    return counted


def time_configs() -> dict:
    """Times of one image through the network of every config, those of a task in turn. Takes ten minutes.

    Configs that differ in their data alone have one network, which is timed once.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    counts, times, others = json.loads(COUNTS.read_text()), {}, OtherPrograms()
    for prefix in _TASKS:
        networks, keys = {}, {}
        for model in _models_of(prefix):
            cfg, size = load_config(ROOT / model['Config']), counts[model['Config']]['input_size']
            keys[model['Config']] = key = f'{size} {cfg.model}'
            networks[key] = cfg, size
        taken = time_networks(networks, torch.device('cpu'), ROUNDS)
        times.update({config: taken[key] for config, key in keys.items()})
    return timed(times, ROUNDS, torch.device('cpu'), others)


def _models_of(prefix: str) -> list[dict]:
    return [model for model in models() if model['Name'].startswith(f'{prefix}_')]


def zoo_page() -> str:
    """The whole page, in Markdown with links as from docs/."""
    parts = [_HEAD]
    counts, latency = json.loads(COUNTS.read_text()), json.loads(TIMES.read_text())
    for prefix, title in _TASKS.items():
        parts.append(f'## {title}\n\n{_configs(_models_of(prefix), counts, latency["times"])}\n')
    parts.append(f'{latency_note(latency)}\n')
    parts.append(_mini(json.loads((ROOT / 'docs' / 'results' / 'mini.json').read_text())))
    return '\n'.join(parts)


def _size(height_and_width: list[int]) -> str:
    return '×'.join(map(str, height_and_width))


def _configs(own: list[dict], counts: dict[str, dict], times: dict[str, dict]) -> str:
    lines = []
    for model in own:
        counted, metadata, taken = counts[model['Config']], model['Metadata'], times.get(model['Config'], {})
        name = model['Config'].removeprefix('configs/')
        lines.append([f'[{name}](../{model["Config"]})', metadata['Training Data'], str(metadata['Epochs']),
                      f'{counted["parameters"]:,}', f'{counted["macs"] / 1e6:,.1f}', _size(counted['input_size']),
                      number(taken.get('onnx_milliseconds')), number(taken.get('milliseconds'))])
    return table(['config', 'data', 'epochs', 'parameters', 'MACs, M', 'px', 'onnxruntime, ms', 'PyTorch, ms'], lines)


def _mini(suite: dict) -> str:
    name, seeds = suite['suite'], ', '.join(map(str, suite['seeds']))
    networks = suite['networks']
    sizes = ', '.join(dict.fromkeys(f'{network["task"]} at {_size(network["input_size"])}' for network in networks))
    machines = dict.fromkeys(run['machine'].split(',')[0] for run in suite['runs'])
    return (f'## On the mini data\n\n{summary(networks)}\n\n'
            f'Mean ± sample standard deviation over the seeds {seeds}, trained on {", ".join(machines)} by '
            f'`{suite["command"]}`. The order of costs: {sizes}. '
            f'Configs, and what the suite changes of them: [{name}.py](../benchmarks/suites/configs/{name}.py). '
            'Intervals, times in PyTorch, what this shows and what not: '
            '[benchmarks.md](benchmarks.md#the-mini-data-three-seeds).\n')


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', action='store_true', help='count the networks anew')
    parser.add_argument('--time', action='store_true', help='time the networks anew, on an idle machine')
    args = parser.parse_args()
    if args.count:
        write_json(COUNTS, count_networks())
    if args.time:
        write_json(TIMES, time_configs())
    AtomicLocalBackend().put_text(zoo_page(), PAGE)


if __name__ == '__main__':
    main()
