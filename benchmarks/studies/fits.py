"""`mobileode fit` on one folder of data with several networks and seeds, by the same choices; the command ``fits``."""
import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from mobileode_mm.analysis.scalars import read_scalars
from mobileode_mm.data.json_file import read_json
from mobileode_mm.engine.atomic_backend import AtomicLocalBackend
from mobileode_mm.errors import InputError
from mobileode_mm.fit.models import MODELS
from mobileode_mm.runs.config import load_config

from ..charts import axes_of_charts, svg_of
from ..machine import describe_machine
from ..output import page_and_mark, put_into_page, table, write_json

#: The marks of a page between which the table is written.
_MARK = 'fits'


def fit_all(data: Path, work_dir: Path, models: Mapping[str, Path | None], seeds: Sequence[int],
            arguments: Sequence[str]) -> list[dict]:
    """Fit each network with each seed, one after the other, and read what the reports say.

    Args:
        data: As ``mobileode fit`` takes it.
        work_dir: Gets a folder for each; those that have a report are not run again.
        models: Name of each network, and the checkpoint whose backbone it starts from, if any.
        seeds: Of the trainings.
        arguments: Further ones of ``mobileode fit``.

    Returns:
        For each run: ``model``, ``start`` ('scratch' or 'a checkpoint'), ``seed``, ``metrics`` on ``split``,
        ``curve`` of the validation, as lists of epochs and values, ``metric``, its name, and the ``epochs`` trained.

    Raises:
        InputError: A run failed.
    """
    runs = []
    for seed in seeds:
        for model, start in models.items():
            folder = work_dir / f'{model}{"" if start else "_scratch"}_{seed}'
            if not (folder / 'report.json').is_file():
                command = [sys.executable, '-m', 'mobileode_mm', 'fit', str(data), '--work-dir', str(folder), '--model',
                           model, '--seed', str(seed), *(['--from', str(start)] if start else []), *arguments]
                print('+', *command, flush=True)
                if subprocess.run(command).returncode:
                    raise InputError(f'the run of {model} with seed {seed} failed; remove {folder} to run it again')
            runs.append(dict(model=model, start='a checkpoint' if start else 'scratch', seed=seed,
                             **what_was_found(folder)))
    return runs


def what_was_found(folder: Path) -> dict:
    """Figures of one work dir of ``mobileode fit``."""
    report = read_json(folder / 'report.json')
    cfg = load_config(folder / f'{folder.name}.py')
    metric = cfg.default_hooks.checkpoint.save_best
    validations = read_scalars(folder / 'runs').val
    return dict(split=report['split'], images=report['images'], metrics=report['metrics'], metric=metric,
                curve=[[line['step'] for line in validations], [line[metric] for line in validations]],
                epochs=cfg.train_cfg.max_epochs)


def markdown(results: dict) -> str:
    """The table: mean and standard deviation over the seeds, each seed's figure in brackets."""
    names = [name for name, value in results['runs'][0]['metrics'].items() if value is not None]
    rows = []
    for (model, start), runs in _by_network(results['runs']).items():
        cells = []
        for name in names:
            values = [run['metrics'][name] for run in runs]
            spread = f' ± {stdev(values):.3f}' if len(values) > 1 else ''
            cells.append(f'**{mean(values):.3f}**{spread} ({", ".join(f"{value:.3f}" for value in values)})')
        rows.append([f'`{model}`', start, *cells])
    seeds = sorted({run['seed'] for run in results['runs']})
    first = results['runs'][0]
    return (table(['network', 'backbone starts from', *names], rows)
            + f'\n\nThe checkpoint that fit chooses, on the {first["images"]} images of the {first["split"]} split; '
              f'{first["epochs"]} epochs; seeds {", ".join(map(str, seeds))}. `{results["command"]}`; '
              f'{results["machine"]}.')


def curves(results: dict) -> str:
    """Validation over the training, as SVG: a line for each seed, a colour for each network."""
    figure, (axes, ) = axes_of_charts(1)
    for number, ((model, start), runs) in enumerate(_by_network(results['runs']).items()):
        for run in runs:
            axes.plot(*run['curve'], color=f'C{number}', label=f'{model}, from {start}' if run is runs[0] else None)
    axes.set(xlabel='epoch', ylabel=f'{results["runs"][0]["metric"]} of the validation', ylim=(0, None))
    axes.grid(color='#e4e4e4')
    axes.legend(frameon=False)
    return svg_of(figure, _MARK)


def _by_network(runs: Sequence[dict]) -> dict[tuple[str, str], list[dict]]:
    networks: dict[tuple[str, str], list[dict]] = {}
    for run in runs:
        networks.setdefault((run['model'], run['start']), []).append(run)
    return networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ('Run "mobileode fit" on one folder of data with several networks and seeds, and print a '
                          'table of their figures. Runs that are there are not run again.')
    parser.add_argument('data', type=Path, help='folder of labelled images')
    parser.add_argument('--models', nargs='+', required=True, metavar='NAME[=CHECKPOINT]',
                        help='networks, as fit takes them, each with the checkpoint that its backbone starts from, or '
                             'from scratch')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/fits'), help='folder of the runs')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='one run of each network for each')
    parser.add_argument('--epochs', type=int, help='length of the trainings; by default as fit chooses it')
    parser.add_argument('--out', type=Path, help='JSON file for the results')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the table into this page, between its marks of this name (default: {_MARK})')
    parser.add_argument('--curves', type=Path, metavar='FILE', help='draw the validations to this SVG file')


def run(args: argparse.Namespace) -> None:
    """Fit, print, and write what was asked for."""
    models = {}
    for word in args.models:
        name, _, start = word.partition('=')
        if name not in MODELS:
            raise InputError(f'--models {name} is none of {", ".join(MODELS)}')
        if start and not Path(start).is_file():
            raise InputError(f'--models {word}: there is no file {start}')
        models[name] = Path(start) if start else None
    if args.curves and args.curves.suffix != '.svg':
        raise InputError(f'--curves {args.curves}: curves are drawn as .svg')
    page, mark = page_and_mark(args.page, _MARK)
    length = ['--epochs', str(args.epochs)] if args.epochs else []
    runs = fit_all(args.data, args.work_dir, models, args.seeds, length)
    words = ['mobileode fits', args.data.name, '--models', *(f'{name}=CHECKPOINT' if start else name
                                                             for name, start in models.items()),
             '--seeds', *map(str, args.seeds), *length]
    results = dict(command=' '.join(words), machine=describe_machine(), runs=runs)
    text = markdown(results)
    print(text)
    if args.out:
        write_json(args.out, results)
    if page:
        put_into_page(page, mark, results, text)
    if args.curves:
        AtomicLocalBackend().put_text(curves(results), args.curves)
