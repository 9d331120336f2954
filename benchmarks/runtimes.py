"""Which networks each runtime runs, and how exactly: ``python -m benchmarks.runtimes --results FILE``.

Every network of the table is exported, untrained, to every format that is installed, which compares the file with the
network on images of the mini data. Formats whose packages need an environment of their own are added to the same
results by a run in each: ``.venv-litert/bin/python -m benchmarks.runtimes --results FILE``.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mobileode_mm.deploy import export
from mobileode_mm.deploy.formats import FORMATS
from mobileode_mm.errors import InputError, exit_status

from .machine import describe_machine
from .output import around, number, put_into_page, table, write_json
from .speed.untrained import untrained_checkpoint

BACKBONES = ('mobileode', 'mobileode_v2', 'mobileode_edge', 'peers/mobilenetv1', 'peers/mobilenetv2',
             'peers/mobilenetv3')
TASKS = dict(ssdlite='detector', deeplabv3='segmentor', classify='classifier')
#: Of rows of a comparison, the file's outputs.
_OUTPUTS = ('boxes', 'scores', 'mask')
#: Distributions whose versions are kept, by format.
_DISTRIBUTIONS = {'onnx': 'onnxruntime', 'openvino': 'openvino', 'ncnn': 'ncnn', 'litert': 'ai-edge-litert',
                  'executorch': 'executorch'}
#: The marks of a page between which the table is written.
PAGE = 'runtimes'
CONFIGS = Path(__file__).parents[1] / 'configs'


def config_of(task: str, backbone: str) -> Path:
    """The mini config of a head and a backbone."""
    folder, _, name = backbone.rpartition('/')
    return CONFIGS / folder / f'{task}_{name}_mini.py'


def measure(file_format: str, configs: Sequence[Path], size: Sequence[int]) -> dict[str, dict]:
    """Export networks to a format.

    Args:
        file_format: One of ``FORMATS``.
        configs: Config files.
        size: Height and width of the images where the config does not say it.

    Returns:
        By name of the config: ``difference``, the outputs' largest, and ``bytes``; or ``refused``, the reason.
    """
    found = {}
    one = FORMATS[file_format]
    for config in configs:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint, own = untrained_checkpoint(config, Path(folder), size)
            out = Path(folder, config.stem + one.suffix)
            try:
                rows = export(config, checkpoint, out, file_format, size=own).rows
                found[config.stem] = dict(difference=max(row.difference for row in rows if row.quantity in _OUTPUTS),
                                          bytes=sum(file.stat().st_size for file in one.files(out)))
            except InputError as error:
                found[config.stem] = dict(refused=str(error).replace(folder, ''))
        print(file_format, config.stem, found[config.stem], file=sys.stderr, flush=True)
    return found


def as_markdown(results: dict) -> str:
    """The table, and below it why a format refuses a network."""
    formats = [name for name in FORMATS if name in results['found']]
    rows, reasons = [], {}
    for task, what in TASKS.items():
        for backbone in BACKBONES:
            config = config_of(task, backbone).stem
            row = [config]
            for name in formats:
                cell = results['found'][name].get(config)
                if cell and 'refused' in cell:
                    reasons.setdefault(cell['refused'].splitlines()[0], []).append(f'{config} as {name}')
                row.append('–' if cell is None else 'refused' if 'refused' in cell else number(cell['difference']))
            if any(cell != '–' for cell in row[1:]):
                rows.append([what, *row])
    lines = [f'- {", ".join(results["machine"])}', '', table(['task', 'untrained network', *formats], rows), '']
    lines += [f'- {", ".join(names)}: {reason}' for reason, names in reasons.items()]
    return '\n'.join(lines).rstrip() + '\n'


def run(args: argparse.Namespace) -> None:
    """Measure, keep and print."""
    if args.page:
        around(args.page, PAGE)
    results = json.loads(args.results.read_text()) if args.results.is_file() else dict(machine=[], found={})
    formats = args.formats or [name for name, one in FORMATS.items()
                               if not one.missing([*one.writes_with, *one.runs_with])]
    configs = [config_of(task, backbone) for task in args.tasks for backbone in args.backbones]
    for name in formats:
        results['found'].setdefault(name, {}).update(measure(name, configs, (192, 192)))
        facts = describe_machine(torch.device('cpu')).split(', ')
        facts += [f'{one} {version(one)}' for one in {_DISTRIBUTIONS.get(name, 'torch')}]
        results['machine'] += [fact for fact in facts if fact not in results['machine']]
        write_json(args.results, results)
    markdown = as_markdown(results)
    print(markdown)
    if args.page:
        put_into_page(args.page, PAGE, results, markdown)


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--results', type=Path, required=True, metavar='FILE',
                        help='JSON file that keeps what was found; one that exists is added to')
    parser.add_argument('--page', type=Path, metavar='FILE', help='write the table into this page as well')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, help='default: those whose packages are installed')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='default: all')
    parser.add_argument('--backbones', nargs='+', choices=BACKBONES, default=BACKBONES, help='default: all')
    args = parser.parse_args()
    return exit_status(lambda: run(args))


if __name__ == '__main__':
    sys.exit(main())
