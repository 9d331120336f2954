"""The page of all configs, from their metafile, their counts and the results of a suite.

``python benchmarks/zoo_page.py`` writes it; with ``--count`` the networks are counted anew first.
"""

import argparse
import json
from pathlib import Path

import yaml

from benchmarks.complexity.from_config import count_config
from benchmarks.output import table, write_json
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'zoo.md'
COUNTS = ROOT / 'docs' / 'results' / 'complexity.json'
_TASKS = {'classify': 'Classification', 'ssdlite': 'Detection: SSDLite', 'rtmdet': 'Detection: RTMDet',
          'deeplabv3': 'Segmentation: DeepLabV3'}
_HEAD = """# Model zoo

Written by `python benchmarks/zoo_page.py --count` from [configs/metafile.yml](../configs/metafile.yml),
[results/complexity.json](results/complexity.json) and [results/mini.json](results/mini.json).

No weights are published. None of the configs at full scale has been trained to its end here, so that they have no
metrics; those of the mini data are measured. Parameters are those that inference reads, multiply-adds (MACs) those of
one image of the size beside them, from the pixels to the heads' maps ([complexity.md](complexity.md#what-is-counted)).
Milliseconds: [performance.md](performance.md) and [deploy.md](deploy.md#how-fast).

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


def zoo_page() -> str:
    """The whole page, in Markdown with links as from docs/."""
    parts = [_HEAD]
    counts = json.loads(COUNTS.read_text())
    for prefix, title in _TASKS.items():
        own = [model for model in models() if model['Name'].startswith(f'{prefix}_')]
        parts.append(f'## {title}\n\n{_configs(own, counts)}\n')
    parts.append(_mini(json.loads((ROOT / 'docs' / 'results' / 'mini.json').read_text())))
    return '\n'.join(parts)


def _size(height_and_width: list[int]) -> str:
    return '×'.join(map(str, height_and_width))


def _configs(own: list[dict], counts: dict[str, dict]) -> str:
    lines = []
    for model in own:
        counted, metadata = counts[model['Config']], model['Metadata']
        lines.append([f'[{model["Config"]}](../{model["Config"]})', metadata['Training Data'], str(metadata['Epochs']),
                      f'{counted["parameters"]:,}', f'{counted["macs"] / 1e6:,.1f}', _size(counted['input_size'])])
    return table(['config', 'data', 'epochs', 'parameters', 'MACs, M', 'px'], lines)


def _mini(suite: dict) -> str:
    body = []
    for network in suite['networks']:
        metrics = ', '.join(f'{metric["label"]} {metric["mean"]:.1f} ± {metric["spread"]:.1f}'
                            for metric in network['metrics'])
        body.append([network['task'], network['backbone'], metrics, f'{network["parameters"]:,}',
                     f'{network["macs"] / 1e6:,.1f}', _size(network['input_size']), f'{network["milliseconds"]:.1f}'])
    seeds = ', '.join(map(str, suite['seeds']))
    return ('## On the mini data\n\n'
            + table(['task', 'backbone', 'result, %', 'parameters', 'MACs, M', 'px', 'ms'], body)
            + f'\n\nMean ± sample standard deviation over the seeds {seeds}, by `{suite["command"]}` at commit '
              f'{suite["commit"][:7]}: {suite["machine"]}. Milliseconds: PyTorch, '
              f'{suite["latency"]["threads"]} threads of the same machine. Configs, and what the suite changes of '
              f'them: [{suite["suite"]}.py](../benchmarks/suites/configs/{suite["suite"]}.py). What this shows and '
              'what not: [benchmarks.md](benchmarks.md#the-mini-data-three-seeds).\n')


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', action='store_true', help='count the networks anew')
    if parser.parse_args().count:
        write_json(COUNTS, count_networks())
    AtomicLocalBackend().put_text(zoo_page(), PAGE)


if __name__ == '__main__':
    main()
