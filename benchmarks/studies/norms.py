"""The solvers' two norms compared on segmentation: the same training with each, then images of many sizes; the command
``norms``."""
import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean

from mobileode_mm.data.json_file import read_json
from mobileode_mm.errors import InputError
from mobileode_mm.ode.cos import NORMS
from mobileode_mm.runs.config import load_config
from mobileode_mm.runs.training import train

from ..machine import commit, describe_machine
from ..output import mean_and_each, page_and_mark, put_into_page, table, write_json

RESULT = 'sizes.json'
_MARK = 'norms'


def compare_norms(config: str | Path, work_dir: str | Path, seeds: Sequence[int] = (0, 1),
                  cfg_options: dict | None = None) -> dict[str, list[dict[str, float]]]:
    """Train a segmentor with each of the solvers' norms and evaluate it at the training size and at others.

    Each run has a process and a folder of its own, ``work_dir/<norm>_<seed>``; one that has been evaluated is not run
    again, so that a comparison that was stopped goes on.

    Args:
        config: Segmentation config with a MobileODE backbone, ``crop_size``, and a Resize in its test pipeline.
        work_dir: Folder of the runs.
        seeds: One run of each norm for each seed.
        cfg_options: As for :func:`train`.

    Returns:
        For each norm, one dict a seed: mIoU in per cent by the size's name (:func:`sizes_around`).

    Raises:
        InputError: As :func:`train`, or the config is of another kind.
    """
    cfg = load_config(config, cfg_options)
    if not {'crop_size', 'test_pipeline'} <= cfg.keys() or 'MobileODE' not in str(cfg.model.backbone.type):
        raise InputError(f'{config} is no segmentation config with a MobileODE backbone, crop_size and test_pipeline')
    results = {norm: [] for norm in NORMS}
    for seed in seeds:
        for norm in NORMS:
            folder = Path(work_dir, f'{norm}_{seed}')
            if not (folder / RESULT).is_file():
                options = {**(cfg_options or {}), 'model.backbone.solver_norm': norm, 'randomness.seed': seed}
                # A process each: OpenMMLab's visualizer and log are global.
                with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
                    pool.submit(_train_and_evaluate, config, folder, options).result()
            results[norm].append(read_json(folder / RESULT))
    return results


def _train_and_evaluate(config: str | Path, folder: Path, options: dict) -> None:
    runner = train(config, folder, cfg_options=options)
    from .sizes import mean_iou, sizes_around  # mmseg is there by now
    cfg = runner.cfg
    short_side = min(next(step for step in cfg.test_pipeline if step.type == 'Resize').scale)
    dataset = runner.val_dataloader.dataset
    dataset.pipeline.transforms = [step for step in dataset.pipeline.transforms
                                   if type(step).__name__ in ('LoadImageFromFile', 'LoadAnnotations')]
    found = {name: mean_iou(runner.model, dataset, size)
             for name, size in sizes_around(cfg.crop_size, short_side).items()}
    write_json(folder / RESULT, found)


def markdown(content: dict) -> str:
    """One row a size, one column a norm: mean mIoU over the seeds, with each seed's in brackets."""
    results, rows = content['results'], []
    for name in next(iter(results.values()))[0]:
        rows.append([name, *(mean_and_each([run[name] for run in runs]) for runs in results.values())])
    first, *others = next(iter(results.values()))[0]
    over = ', '.join(f'`{norm}` {mean(run[name] for run in runs for name in others):.1f}'
                     for norm, runs in results.items())
    return (table(['images', *(f'`{norm}`' for norm in results)], rows)
            + f'\n\nmIoU in per cent: the mean, and of each seed. Over all rows but "{first}": {over}. '
              f'`{content["command"]}`, commit {content["commit"]}; {content["machine"]}.')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what :func:`run` reads."""
    parser.description = ("Train a segmentor with each of the solvers' norms, evaluate it at many sizes, and print the "
                          'table.')
    parser.add_argument('config', help='segmentation config with a MobileODE backbone')
    parser.add_argument('--work-dir', default='work_dirs/compare_norms', help='folder of the runs')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1], help='one run of each norm for each seed')
    parser.add_argument('--page', metavar='FILE[#NAME]',
                        help=f'put the table into this page, between its marks of this name (default: {_MARK})')


def run(args: argparse.Namespace) -> None:
    """Train, evaluate and print."""
    page, mark = page_and_mark(args.page, _MARK)
    results = compare_norms(args.config, args.work_dir, args.seeds)
    content = dict(command=f'mobileode norms {args.config} --seeds {" ".join(map(str, args.seeds))}',
                   machine=describe_machine(), commit=commit(), results=results)
    text = markdown(content)
    print(text)
    if page:
        put_into_page(page, mark, content, text)
