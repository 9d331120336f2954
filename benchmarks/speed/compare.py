"""Layers, backbones, detectors and segmentors measured side by side; the command ``bench-torch``."""

import argparse
import contextlib
import gc
import sys
from collections.abc import Sequence

import torch

from mobileode_mm.commands.options import add_steps
from mobileode_mm.errors import InputError

from ..machine import OtherPrograms, describe_machine
from ..output import json_text, page_and_mark, put_into_page
from . import variants
from .agreement import TOLERANCES, compared, worst_difference
from .allocations import peak_bytes, saved_bytes
from .report import JSON_NAME, MARKDOWN_NAME, add_ratios, as_markdown, free_folder, mean_ratios, page_text, write_report
from .sampling import clock_of, sample_in_turn
from .variants import PATHS, Case, Settings

DTYPES = dict(float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16)
#: Exit status where a variant gave wrong numbers or broke: its speed is not reported.
FAILED = 1
#: The marks of a page between which the tables are written.
PAGE = 'torch'


def tolerance_of(kind: str, settings: Settings) -> float:
    """Largest difference from the reference of a case of this kind.

    On a GPU torch's convolutions round float32 to ten bits, as those of float16 (TF32), unless they are told not to.
    """
    rounds = settings.device.type == 'cuda' and torch.backends.cudnn.allow_tf32
    dtype = torch.float16 if rounds and settings.dtype == torch.float32 else settings.dtype
    return TOLERANCES[dtype][f'{kind} {settings.mode}']


def _ready(case: Case, settings: Settings) -> tuple[list[dict], dict]:
    """What :func:`measure` returns of the variants, before they are timed; by label, those whose numbers are right."""
    results, workloads = [], {}
    for variant in case.variants():
        result = dict(label=variant.label, difference=None, worst=None, error=None, samples_ms=[], saved_bytes=None,
                      peak_bytes=None)
        results.append(result)
        try:
            workload = variant.build()
            if variant.expected is not None:
                result['difference'], result['worst'] = worst_difference(*(
                    compared(numbers, case.kind, settings.dtype)
                    for numbers in (workload.probe(), variant.expected())))
                tolerance = tolerance_of(case.kind, settings)
                if not result['difference'] <= tolerance:
                    result['error'] = (f'{result["worst"]} differs by {result["difference"]:.1e}, more than '
                                       f'{tolerance:.0e}')
                    continue
            workload.step()
            workloads[variant.label] = workload
        except InputError:
            raise
        except Exception as error:  # one variant that breaks (no compiler, no kernel) must not lose the others
            lines = str(error).strip().splitlines() or ['']
            result['error'] = f'{type(error).__name__}: {lines[0][:200]}'
    return results, workloads


def measure(case: Case, settings: Settings, rounds: int, seconds: float,
            others: OtherPrograms | None = None) -> dict:
    """Check the numbers of a case's variants, time those that are right in turn, then take their memory.

    Args:
        others: Is not to count what is compiled before the timing.

    Returns:
        ``title``, ``num_steps`` and ``variants``: for each ``label``, ``difference`` from the reference and the
        ``worst`` tensor, ``error`` (None where all is well), ``samples_ms``, ``saved_bytes`` (training) and
        ``peak_bytes`` (not of a CUDA graph, which allocates nothing in a call).
    """
    with others.uncounted() if others else contextlib.nullcontext():
        results, workloads = _ready(case, settings)
    samples = sample_in_turn({label: workload.step for label, workload in workloads.items()}, rounds, seconds,
                             clock_of(settings.device))
    for result in results:
        workload = workloads.get(result['label'])
        if workload is not None:
            result['samples_ms'] = samples[result['label']]
            if workload.allocates:
                result['peak_bytes'] = peak_bytes(workload.step, settings.device)
            if workload.is_training:
                result['saved_bytes'] = saved_bytes(workload.step, workload.owned())
    workloads.clear()
    torch._dynamo.reset()  # graphs of this case must not count as recompilations of the next
    gc.collect()
    return dict(title=case.title, num_steps=case.num_steps, variants=results)


def compare(subject: str, cases: Sequence[Case], settings: Settings, baselines: Sequence[str], rounds: int = 15,
            seconds: float = 0.02) -> dict:
    """Measure every case; returns what the report holds.

    Args:
        subject: For the title.
        cases: What is compared with what.
        settings: Mode, paths, batch, type, device.
        baselines: Names of variants; each of their paths is a column of ratios.
        rounds: Samples of each variant.
        seconds: Shortest sample.
    """
    measured, others = [], OtherPrograms()
    for case in cases:
        print(f'{subject}: {case.title}' + (f', L = {case.num_steps}' if case.num_steps else ''), file=sys.stderr)
        measured.append(measure(case, settings, rounds, seconds, others))
        add_ratios(measured[-1], list(baselines))
    whole = subject in ('detector', 'segmentor')
    return dict(
        subject=subject, mode=settings.mode, machine=describe_machine(settings.device), batch=settings.batch,
        dtype=str(settings.dtype).removeprefix('torch.'), device=settings.device.type,
        threads=torch.get_num_threads(), quiet=others.report(torch.get_num_threads()), rounds=rounds,
        baselines=list(baselines),
        reference=f'the same weights, eager, {"float32" if whole else "float64"}, solvers as released; tolerance '
                  f'{tolerance_of(cases[0].kind, settings):.0e} of the norm',
        cases=measured, geometric_means=mean_ratios(measured))


def run(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit status, 1 where a variant failed."""
    out = free_folder(args.out) if args.out else None
    page, mark = page_and_mark(args.page, PAGE)
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise InputError('--device cuda: torch finds no GPU here')
    if args.threads:
        torch.set_num_threads(args.threads)
    train = args.mode == 'train'
    whole = args.subject in ('detector', 'segmentor')
    settings = Settings(train, tuple(dict.fromkeys(args.paths)), args.batch or (2 if whole and train else 1),
                        DTYPES[args.dtype], torch.device(args.device))
    cases, names = _cases(args, settings)
    default = [name for name in ('naive', 'pointwise') if name in names] if args.subject == 'layer' else []
    baselines = args.baseline or default or names[-1:]
    for name in baselines:
        if name.partition('/')[0] not in names:
            raise InputError(f'--baseline {name}: it is not measured; measured are {", ".join(names)}')
    result = compare(args.subject, cases, settings, baselines, args.rounds, args.seconds)
    markdown = as_markdown(result)
    print(markdown)
    if out:
        write_report(out, {JSON_NAME: json_text(result), MARKDOWN_NAME: markdown})
    if page:
        put_into_page(page, mark, result, page_text(result))
    failed = [f'{case["title"]}: {variant["label"]}: {variant["error"]}' for case in result['cases']
              for variant in case['variants'] if variant['error']]
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    return FAILED if failed else 0


def _cases(args: argparse.Namespace, settings: Settings) -> tuple[list[Case], list[str]]:
    """The cases, and the names of their variants."""
    if args.subject == 'layer':
        cases = variants.layer_cases(settings, args.shapes, args.variants, args.num_steps or (3, ))
        return cases, list(args.variants)
    size = variants.parse_size(args.shape) if args.shape else None
    if args.subject == 'backbone':
        cases = variants.backbone_cases(settings, args.names, size or (320, 320), args.num_steps or (None, ))
        return cases, list(args.names)
    from .models import default_configs, model_cases, model_name
    configs = args.configs or default_configs(args.subject)
    return model_cases(settings, args.subject, configs, size, args.steps), [model_name(config) for config in configs]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Measure layers or networks side by side, in turn, after a check of their numbers; print '
                          'medians, spread and ratios.')
    subjects = parser.add_subparsers(dest='subject', required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--mode', choices=('infer', 'train'), default='infer',
                        help='train: forward and backward; for whole models also the step of the optimizer')
    common.add_argument('--paths', nargs='+', choices=PATHS, default=['eager'],
                        help='default: eager; deploy: the deploy form of backbones and whole models, in inference (of '
                        "a toolbox's, which has none, with batch norms folded into the convolutions by mmcv); graph: a "
                        'CUDA graph of layers and backbones')
    common.add_argument('--threads', type=_positive, help='threads of torch (default: its own choice)')
    common.add_argument('--dtype', choices=DTYPES, default='float32',
                        help='type of weights and images; in training that of autocast')
    common.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    common.add_argument('--batch', type=_positive, help='images (default: 1; 2 to train whole models)')
    common.add_argument('--rounds', type=_positive, default=15, help='samples of each variant (default: 15)')
    common.add_argument('--seconds', type=float, default=0.02, help='shortest sample (default: 0.02)')
    common.add_argument('--baseline', nargs='+', metavar='NAME',
                        help='variants that the others are divided by (default: naive and pointwise for layers, else '
                        'the last one named)')
    common.add_argument('--out', metavar='DIR', help=f'write {JSON_NAME} and {MARKDOWN_NAME} into this folder')
    common.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the tables into this page, between its marks of this name (default: {PAGE})')
    layer = subjects.add_parser('layer', parents=[common], help='the solver beside a 1x1 convolution')
    layer.add_argument('--shapes', nargs='+', default=variants.LAYER_SHAPES, metavar='C_IN-C_OUT-HxW')
    layer.add_argument('--variants', nargs='+', default=variants.LAYER_VARIANTS, metavar='VARIANT',
                       help='naive, cos, cos:BACKEND, pointwise, copy, product')
    backbone = subjects.add_parser('backbone', parents=[common], help='backbones by name')
    backbone.add_argument('names', nargs='*', default=list(variants.BACKBONES), metavar='NAME',
                          help='as in a config, such as MobileODEV1 or mmdet.MobileNetV2; NAME:naive for the solver as '
                          'released, NAME:BACKEND for another backend of it')
    for name in ('layer', 'backbone'):
        subjects.choices[name].add_argument('--num-steps', type=_positive, nargs='+', metavar='L',
                                            help='steps of the solvers; each number given is a case')
    for name in ('detector', 'segmentor'):
        model = subjects.add_parser(name, parents=[common], help=f'whole {name}s by config')
        model.add_argument('configs', nargs='*', metavar='CONFIG', help='config files; FILE:naive for the solver as '
                           'released, FILE:BACKEND for another backend of it (default: MobileODE V1 and MobileNetV2)')
        add_steps(model)
    for name in ('backbone', 'detector', 'segmentor'):
        subjects.choices[name].add_argument('--shape', metavar='HxW', help='size of the images')


def _positive(text: str) -> int:
    try:
        return variants.positive(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no number of 1 or more') from None
