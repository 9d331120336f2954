"""Trained networks in every runtime, side by side: accuracy, time, bytes, memory; the command ``bench``."""

import argparse
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from mobileode_mm.commands.options import steps
from mobileode_mm.deploy.accuracy import accuracy
from mobileode_mm.deploy.formats import FORMATS, needed
from mobileode_mm.deploy.inputs import Images
from mobileode_mm.errors import InputError
from mobileode_mm.runs.checks import config_scope
from mobileode_mm.runs.processes import usable_cores

from ..machine import OtherPrograms, describe_machine
from ..output import json_text, page_and_mark, put_into_page
from . import report
from .files_made import KINDS, MODULES, Made, Network, format_of_kind, make
from .files_memory import peak_of
from .files_report import as_markdown, chart
from .sampling import sample_in_turn
from .untrained import untrained_checkpoint

CHART_NAME = 'bench.svg'
#: The marks of a page between which the table is written, unless others are named.
PAGE = 'bench'


def bench(networks: Sequence[Network], kinds: Sequence[str], folder: Path, threads: Sequence[int] = (),
          rounds: int = 15, seconds: float = 0.02, limit: int | None = None, size: Sequence[int] | None = None,
          trust: bool = False) -> dict:
    """Make every form of every network, and measure it: accuracy, time from pixels to result, bytes, memory.

    Args:
        networks: The last is what the others' times are divided by.
        kinds: Of :data:`KINDS`.
        folder: Where the files are written.
        threads: Of torch and of the runtimes, one number after the other; default: one, and all cores.
        rounds: Samples of each variant.
        seconds: Shortest sample.
        limit: Measure accuracy on that many images of the test data; 0: on none.
        size: Height and width of the images, where configs do not say it.
        trust: Read checkpoints that can run code when they are read.

    Returns:
        ``machine``, ``quiet``, ``threads``, ``rounds``, ``images``, ``baselines``, ``notes``, and ``variants``: for
        each ``network``, ``kind``, ``complete``, ``parity``, ``bytes``, ``memory``, ``metrics`` and, by number of
        threads, ``timed`` with samples, median, quartiles and ratios.

    Raises:
        InputError: Something given cannot be used, or a variant does not give what its network gives.
    """
    from mobileode_mm.deploy.precision import processor
    threads = list(dict.fromkeys(threads or (1, usable_cores())))
    made = [make(network, kinds, folder, size, trust) for network in networks]
    notes = [note for one in made for note in one.notes]
    variants, counted = [], 0
    for network, one in zip(networks, made):
        images = _test_data(one, notes) if network.trained and limit != 0 else None
        counted = max(counted, min(len(images), limit or len(images)) if images else 0)
        for variant in one.variants:
            metrics = None
            if images:
                with config_scope(one.inferencer.cfg):
                    metrics = accuracy(one.inferencer, variant.whole(variant.start(0)), images, one.size, limit)
            variants.append(dict(
                network=variant.network, kind=variant.kind, complete=variant.complete, parity=variant.parity,
                bytes=sum(file.stat().st_size for file in variant.files) or None,
                memory=peak_of(format_of_kind(variant.kind), variant.files, one.size) if variant.files else None,
                metrics=metrics and {key: float(value) for key, value in metrics.items()}, timed={}))
    quiet = _time(made, variants, threads, rounds, seconds, networks[-1].name)
    machine = f'{describe_machine(torch.device("cpu"))}, onnxruntime {version("onnxruntime")}; {processor()}'
    return dict(machine=machine, quiet=quiet, threads=threads, rounds=rounds, images=counted,
                baselines=[networks[-1].name], variants=variants, notes=notes)


def _test_data(made: Made, notes: list[str]) -> Images | None:
    try:
        return Images(made.inferencer, 'test')
    except FileNotFoundError as error:
        notes.append(f'without accuracy: {error}')
        return None


def _time(made: Sequence[Made], variants: list[dict], threads: Sequence[int], rounds: int, seconds: float,
          base: str) -> str:
    """Into each variant its times; returns how quiet the machine was meanwhile."""
    before, others = torch.get_num_threads(), OtherPrograms()
    try:
        for count in threads:
            torch.set_num_threads(count)
            calls = {}
            for variant in (variant for one in made for variant in one.variants):
                run = variant.start(count)
                calls[f'{variant.network}/{variant.kind}'] = lambda run=run, image=variant.image: run(image)
            samples = sample_in_turn(calls, rounds, seconds)
            timed = [dict(label=label, samples_ms=samples[label]) for label in calls]
            report.add_ratios(dict(variants=timed), [base])
            for variant, found in zip(variants, timed):
                variant['timed'][str(count)] = found
    finally:
        torch.set_num_threads(before)
    return others.report(max(threads))


def config_beside(checkpoint: Path) -> Path:
    """The config that a run, or ``mobileode publish``, left beside a checkpoint.

    The one inside a checkpoint is not used: building what it names can run anything.

    Raises:
        InputError: There is none, or it is not clear which.
    """
    own = checkpoint.with_suffix('.py')
    found = [own] if own.is_file() else sorted(checkpoint.parent.glob('*.py'))
    if not checkpoint.is_file():
        raise InputError(f'there is no checkpoint file {checkpoint}')
    if len(found) != 1:
        raise InputError(f'{checkpoint}: {len(found) or "no"} configs lie beside it; name its config by --config')
    return found[0]


def _networks(args: argparse.Namespace, folder: Path) -> list[Network]:
    checkpoints = [Path(path).expanduser() for path in args.checkpoints]
    if args.config and len(args.config) not in (1, len(checkpoints)):
        raise InputError(f'{len(args.config)} configs for {len(checkpoints)} checkpoints: give --config one for all, '
                         'or one for each')
    given = [Path(path).expanduser() for path in args.config]
    configs = given * (len(checkpoints) if len(given) == 1 else 1) or [*map(config_beside, checkpoints)]
    found = [Network(config.stem, config, checkpoint) for config, checkpoint in zip(configs, checkpoints)]
    if len({network.name for network in found}) < len(found):
        found = [one._replace(name=f'{one.checkpoint.parent.name}_{one.checkpoint.stem}') for one in found]
    if args.steps:
        found = [one._replace(name=f'{one.name}, L = {str(number).strip("()")}', steps=number)
                 for one in found for number in args.steps]
    found += [Network(Path(config).stem, Path(config), untrained_checkpoint(config, folder, args.size)[0], False)
              for config in args.untrained]
    names = [network.name for network in found]
    if len(set(names)) < len(names):
        raise InputError(f'{" ".join(names)}: two networks of one name')
    return found


def default_kinds() -> list[str]:
    """The network as it was trained, ONNX in float32 and in int8, and every other format that is installed."""
    return ['eager', 'onnx', 'onnx-int8', *(name for name, one in FORMATS.items() if name != 'onnx'
                                            and not one.missing([*one.writes_with, *one.runs_with]))]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Export networks into every format that is installed, and measure each file: accuracy on the '
                          'test data, milliseconds from pixels to result, bytes, memory, and how far it is from the '
                          'network. Layers and networks in PyTorch: `mobileode bench-torch`.')
    parser.add_argument('checkpoints', nargs='*', metavar='CHECKPOINT',
                        help='trained weights; the times of the others are divided by those of the last network')
    parser.add_argument('--config', nargs='+', default=[], metavar='CONFIG',
                        help='of the checkpoints, one for all or one for each (default: the one beside a checkpoint)')
    parser.add_argument('--steps', type=steps, nargs='+', metavar='K[,K...]',
                        help='of checkpoints with anytime: measure each with these numbers of steps, one for all '
                        'stages or one for each')
    parser.add_argument('--untrained', nargs='+', default=[], metavar='CONFIG',
                        help='networks with random weights, timed alone; they come behind the checkpoints')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'),
                        help='of the images, where configs do not say it')
    parser.add_argument('--formats', nargs='+', choices=KINDS, metavar='FORMAT',
                        help=f'{", ".join(KINDS)} (default: eager, onnx, onnx-int8 and every other file format that is '
                        'installed)')
    parser.add_argument('--threads', type=int, nargs='+', default=[],
                        help='of torch and the runtimes, one number or several (default: 1, and all cores)')
    parser.add_argument('--rounds', type=int, default=15, help='samples of each variant (default: 15)')
    parser.add_argument('--limit', type=int, metavar='N',
                        help='measure accuracy on N images of the test data (default: all; 0: no accuracy)')
    parser.add_argument('--out', metavar='DIR',
                        help=f'write {report.JSON_NAME}, {report.MARKDOWN_NAME} and {CHART_NAME} into this folder')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'write the table into this page, between its marks of this name (default: {PAGE})')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='read checkpoints that can run code when they are read')


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    names = (report.JSON_NAME, report.MARKDOWN_NAME, CHART_NAME)
    out = report.free_folder(args.out, names) if args.out else None
    if min(args.rounds, *args.threads, 1) < 1 or (args.limit or 0) < 0:
        raise InputError('--rounds and --threads are numbers of 1 or more, --limit one of 0 or more')
    if not args.checkpoints and not args.untrained:
        raise InputError('give networks to measure: checkpoints, or configs by --untrained')
    kinds = args.formats or default_kinds()
    for name in kinds:
        if name not in MODULES:
            needed(format_of_kind(name), False, name.endswith('-kernel'))
    page, mark = page_and_mark(args.page, PAGE)
    with tempfile.TemporaryDirectory() as folder:
        result = bench(_networks(args, Path(folder)), kinds, Path(folder), args.threads, args.rounds, limit=args.limit,
                       size=args.size, trust=args.trust_checkpoint)
    markdown, drawing = as_markdown(result), chart(result)
    print(markdown)
    if out:
        texts = {report.JSON_NAME: json_text(result), report.MARKDOWN_NAME: markdown}
        report.write_report(out, texts | ({CHART_NAME: drawing} if drawing else {}))
    if page:
        put_into_page(page, mark, result, markdown)
