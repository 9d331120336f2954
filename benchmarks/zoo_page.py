"""The page of all configs, from their metafile and the results of a suite: ``python benchmarks/zoo_page.py``."""

import json
from pathlib import Path

import yaml

from benchmarks.output import table
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'zoo.md'
_TASKS = {'classify': 'Classification', 'ssdlite': 'Detection: SSDLite', 'deeplabv3': 'Segmentation: DeepLabV3'}
_HEAD = """# Model zoo

Written by `python benchmarks/zoo_page.py` from [configs/metafile.yml](../configs/metafile.yml) and
[results/mini.json](results/mini.json).

No weights are published. None of the configs at full scale has been trained to its end here, so that they have no
metrics; those of the mini data are measured. Multiply-adds of the full networks, beside others':
[complexity.md](complexity.md); milliseconds: [performance.md](performance.md) and [deploy.md](deploy.md#how-fast).
`mobileode flops CONFIG` counts any of them, `mobileode verify CONFIG` checks its data ([data.md](data.md)).
"""


def zoo_page() -> str:
    """The whole page, in Markdown with links as from docs/."""
    parts = [_HEAD]
    models = yaml.safe_load((ROOT / 'configs' / 'metafile.yml').read_text())['Models']
    for prefix, title in _TASKS.items():
        own = [model for model in models if model['Name'].startswith(f'{prefix}_')]
        parts.append(f'## {title}\n\n{_configs(own)}\n')
    parts.append(_mini(json.loads((ROOT / 'docs' / 'results' / 'mini.json').read_text())))
    return '\n'.join(parts)


def _link(config: str) -> str:
    return f'[{Path(config).stem}](../{config})'


def _configs(models: list[dict]) -> str:
    return table(['config', 'network', 'data', 'epochs', 'parameters', 'command'],
                 [[_link(model['Config']), model['In Collection'], model['Metadata']['Training Data'],
                   str(model['Metadata']['Epochs']), f'{model["Metadata"]["Parameters"]:,}',
                   f'`mobileode train {model["Config"]}`'] for model in models])


def _mini(suite: dict) -> str:
    body = []
    for network in suite['networks']:
        metrics = ', '.join(f'{metric["label"]} {metric["mean"]:.1f} ± {metric["spread"]:.1f}'
                            for metric in network['metrics'])
        height, width = network['input_size']
        body.append([network['task'], network['backbone'], f'{height}×{width}', metrics, f'{network["parameters"]:,}',
                     f'{network["macs"]:,}', f'{network["milliseconds"]:.1f}'])
    seeds = ', '.join(map(str, suite['seeds']))
    return ('## On the mini data\n\n'
            + table(['task', 'backbone', 'px', 'result, %', 'parameters', 'MACs', 'ms'], body)
            + f'\n\nMean ± sample standard deviation over the seeds {seeds}, by `{suite["command"]}` at commit '
              f'{suite["commit"][:7]}: {suite["machine"]}. Milliseconds: PyTorch, '
              f'{suite["latency"]["threads"]} threads of the same machine. Configs, and what the suite changes of them: '
              f'[{suite["suite"]}.py](../benchmarks/suites/configs/{suite["suite"]}.py). What this shows and what not: '
              '[benchmarks.md](benchmarks.md#the-mini-data-three-seeds).\n')


if __name__ == '__main__':
    AtomicLocalBackend().put_text(zoo_page(), PAGE)
