"""Trained networks and the files made of them, timed side by side; the command ``bench-files``."""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mobileode_mm.deploy import parity, tasks
from mobileode_mm.deploy.exporting import deployed_copy
from mobileode_mm.deploy.formats import load, needed, onnx_metadata, run_of
from mobileode_mm.deploy.inputs import samples
from mobileode_mm.engine.compiling import fault_of_compiler
from mobileode_mm.errors import InputError
from mobileode_mm.inference.inferencer import Inferencer
from mobileode_mm.runs.checks import config_scope

from ..machine import describe_machine
from ..output import json_text, number, table
from . import report
from .sampling import sample_in_turn
from .untrained import untrained

#: What is timed of each network, in the table's order: ``'compiled'`` is the deploy form, where torch.compile works; an
#: int8 file, and one with our kernel and its library, are timed where they lie beside the other. The kernel's threads
#: are OpenMP's: ``OMP_NUM_THREADS``.
KINDS = ('eager', 'deploy form', 'compiled', 'onnx', 'onnx with kernel', 'onnx int8')
#: Lines of a page between which the table is written.
MARKS = ('<!-- bench-files: begin -->', '<!-- bench-files: end -->')


class Entry(NamedTuple):
    """A network and its file.

    Attributes:
        config: Config file.
        checkpoint: Its weights.
        file: What ``tools/deployment/export.py`` made of them, with images of a fixed size.
    """
    config: str
    checkpoint: str
    file: str


def time_files(entries: Sequence[Entry], threads: Sequence[int] = (), rounds: int = 15, seconds: float = 0.02,
               trust: bool = False, kinds: Sequence[str] = KINDS) -> dict:
    """Time whole tasks, from the pixels of one image to boxes, mask or scores, as PyTorch modules and as files.

    All variants take the same image of the test data, once each in every round, and each round starts with another.
    What a variant gives is compared with the trained network first, but for int8 files, whose accuracy is measured when
    they are made.

    Args:
        entries: Networks; the last is what the others are divided by.
        threads: Of torch and of onnxruntime, one number after the other; default: torch's own choice.
        rounds: Samples of each variant.
        seconds: Shortest sample.
        trust: Read checkpoints that can run code when they are read.
        kinds: Of :data:`KINDS`, those to time.

    Returns:
        ``machine``, ``threads``, ``rounds``, ``baselines`` and ``variants``: for each its ``label`` (network/kind),
        ``threads``, ``bytes`` of a file, ``samples_ms``, ``median_ms``, ``quartiles_ms`` and ``ratios``.

    Raises:
        InputError: Something given cannot be used, or a variant does not give what its network gives.
    """
    needed('onnx', False)
    names = [Path(entry.config).stem for entry in entries]
    if len(set(names)) < len(names):
        raise InputError(f'{" ".join(names)}: a config is named twice')
    threads = list(threads) or [torch.get_num_threads()]
    before, every = torch.get_num_threads(), []
    try:
        for count in threads:
            torch.set_num_threads(count)
            variants, calls = [], {}
            for name, entry in zip(names, entries):
                for kind, (call, size) in _variants(entry, count, trust, kinds).items():
                    calls[f'{name}/{kind}'] = call
                    variants.append(dict(label=f'{name}/{kind}', threads=count, bytes=size))
            found = sample_in_turn(calls, rounds, seconds)
            for variant in variants:
                variant['samples_ms'] = found[variant['label']]
            report.add_ratios(dict(variants=variants), names[-1:])
            every += variants
        machine = f'{describe_machine(torch.device("cpu"))}, onnxruntime {version("onnxruntime")}'
    finally:
        torch.set_num_threads(before)
    return dict(machine=machine, threads=threads, rounds=rounds, baselines=names[-1:], variants=every)


def _variants(entry: Entry, threads: int, trust: bool,
              kinds: Sequence[str]) -> dict[str, tuple[Callable[[], object], int | None]]:
    """By kind: a call without arguments, checked, and the bytes of its file."""
    path = Path(entry.file).expanduser()
    metadata = _metadata(path)
    size = json.loads(metadata['size'])
    if size is None:
        raise InputError(f'{path} takes images of any size; to time it against others, export it with a fixed one')
    inferencer = Inferencer(entry.config, entry.checkpoint, 'cpu', trust, deploy=False,
                            steps=json.loads(metadata.get('steps', 'null')))
    if (inferencer.task, list(inferencer.classes)) != (metadata['task'], json.loads(metadata['classes'])):
        raise InputError(f'{path} is not of {entry.config}: the task or the classes differ')
    kind = next(kind for kind in tasks.TASKS[inferencer.task] if json.loads(metadata['outputs']) == [*kind.outputs])
    images, _ = samples(inferencer, 1, tuple(size))
    image = np.ascontiguousarray(images[0][None])
    reference = kind(inferencer.model, inferencer.takes_rgb).eval()
    deployed = kind(deployed_copy(inferencer.model, tuple(size)), inferencer.takes_rgb).eval()
    runs = {'eager': run_of(reference), 'deploy form': run_of(deployed), 'onnx': load(path, 'onnx', threads)}
    sizes = dict.fromkeys((*runs, 'compiled')) | {'onnx': path.stat().st_size}
    own, library = path.with_suffix('.ops.onnx'), path.with_suffix('.ops.so')
    if own.is_file() and library.is_file():
        runs['onnx with kernel'] = load(own, 'onnx', threads, library)
        sizes['onnx with kernel'] = own.stat().st_size
    runs = {name: run for name, run in runs.items() if name in kinds}

    def check(name):
        rows = parity.compare(reference, deployed, runs[name], [image])
        if not all(row.good for row in rows):
            raise InputError(f'{entry.config}, {name}: it does not compute what the network computes, and is not '
                             f'timed\n{parity.table(rows)}')

    with config_scope(inferencer.cfg):
        for name in runs:
            check(name)
        # After the files, which may be wrong: asking for a compiler compiles.
        if 'compiled' in kinds and fault_of_compiler(torch.device('cpu')) is None:
            runs['compiled'] = run_of(torch.compile(deployed, fullgraph=True, dynamic=False))
            check('compiled')
    small = path.with_suffix('.int8.onnx')
    if 'onnx int8' in kinds and small.is_file():
        runs['onnx int8'], sizes['onnx int8'] = load(small, 'onnx', threads), small.stat().st_size
    return {kind: ((lambda run=runs[kind]: run(image)), sizes[kind]) for kind in KINDS if kind in runs}


def _metadata(path: Path) -> dict[str, str]:
    try:
        metadata = onnx_metadata(path)
    except Exception as error:  # protobuf's, of whatever is wrong with the file
        raise InputError(f'{path} cannot be read as an ONNX file: {type(error).__name__}: {error}') from error
    if not {'task', 'classes', 'outputs', 'size'} <= metadata.keys():
        raise InputError(f'{path} was not made by tools/deployment/export.py: its metadata lack task, classes, outputs '
                         'or size')
    return metadata


def as_markdown(result: dict) -> str:
    """The table: median and quartiles, and the ratio to the last network's variant of the same kind."""
    base = result['baselines'][0]
    head = ['network', 'as', 'threads', 'median ms', 'quartiles', f'÷ {base} as the same', f'÷ {base} eager',
            'file, bytes']
    rows = []
    for variant in result['variants']:
        name, _, kind = variant['label'].rpartition('/')
        same, eager = (variant['ratios'].get(f'{base}/{other}') for other in (kind, 'eager'))
        rows.append([name, kind, str(variant['threads']), number(variant['median_ms']),
                     report.spread(variant['quartiles_ms']), report.ratio_text(same), report.ratio_text(eager),
                     f'{variant["bytes"]:,}' if variant['bytes'] else '–'])
    if all(row[-2] == '–' for row in rows):  # no network was timed in eager mode
        head, rows = [*head[:-2], head[-1]], [[*row[:-2], row[-1]] for row in rows]
    counts = ' and '.join(map(str, result['threads']))
    lines = [result['machine'],
             f'batch 1, float32 but for int8 files, {counts} threads each of torch and onnxruntime, '
             f'{result["rounds"]} rounds in which each variant was measured in turn']
    return '\n'.join(f'- {line}' for line in lines) + f'\n\n{table(head, rows)}\n'


def around_the_table(page: Path) -> tuple[str, str]:
    """What stands before and behind the table of a page, the marks included.

    Raises:
        InputError: The page cannot be read, or has not both marks.
    """
    try:
        text = page.read_text(encoding='utf-8')
    except OSError as error:
        raise InputError(f'--page {page} cannot be read: {error.strerror}') from error
    before, first, rest = text.partition(MARKS[0])
    _, last, after = rest.partition(MARKS[1])
    if not last:
        raise InputError(f'--page {page} has no lines {MARKS[0]} and {MARKS[1]} to write the table between')
    return before + first, last + after


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = 'Time networks and the files made of them, from pixels to results, in one run.'
    parser.add_argument('--model', nargs=3, action='append', default=[], metavar=('CONFIG', 'CHECKPOINT', 'ONNX'),
                        help='a network and its exported file, with the .int8.onnx and .ops.onnx that lie beside it; '
                        'once for each network, and the others are divided by the last')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'),
                        help='of the images of untrained networks, where their configs do not say it')
    parser.add_argument('--untrained', nargs='+', default=[], metavar='CONFIG',
                        help='networks with random weights, exported for this; they come behind those of --model')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS, help='what to time (default: all)')
    parser.add_argument('--threads', type=int, nargs='+', default=[],
                        help="of torch and onnxruntime, one number or several (default: torch's own choice)")
    parser.add_argument('--rounds', type=int, default=15, help='samples of each variant (default: 15)')
    parser.add_argument('--out', metavar='DIR',
                        help=f'write {report.JSON_NAME} and {report.MARKDOWN_NAME} into this folder')
    parser.add_argument('--page', type=Path, metavar='FILE',
                        help=f'write the table into this page, between {MARKS[0]} and {MARKS[1]}')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='read checkpoints that can run code when they are read')


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    out = report.free_folder(args.out) if args.out else None
    if min(args.rounds, *args.threads, 1) < 1:
        raise InputError('--rounds and --threads are numbers of 1 or more')
    if not args.model and not args.untrained:
        raise InputError('give networks to time, by --model or --untrained')
    if args.size and not args.untrained:
        raise InputError('--size is of --untrained networks; a file has the size that it was exported for')
    if args.page:
        around_the_table(args.page)
    with tempfile.TemporaryDirectory() as folder:
        made = [untrained(config, Path(folder), 'onnx with kernel' in args.kinds, args.size)
                for config in args.untrained]
        result = time_files([Entry(*model) for model in (*args.model, *made)], args.threads, args.rounds,
                            trust=args.trust_checkpoint, kinds=args.kinds)
    markdown = as_markdown(result)
    print(markdown)
    if out:
        report.write_report(out, {report.JSON_NAME: json_text(result), report.MARKDOWN_NAME: markdown})
    if args.page:
        args.page.write_text(f'\n{markdown}'.join(around_the_table(args.page)), encoding='utf-8')
