"""From a folder of labelled images to a trained, judged network: :func:`fit`, from top to bottom."""
import logging
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from ..checkpoints.matching import check_pretrained
from ..checkpoints.reading import read_checkpoint
from ..data.formats import Found, Image, recognise
from ..data.formats.found import ALL
from ..errors import InputError, listed
from ..runs.checks import build_model, check_new, check_writable, config_scope
from ..runs.config import load_config
from ..runs.verifying import verify_config
from . import splits, tiles, writing
from .plan import Plan, fit_head, plan_classification, plan_detection, plan_segmentation, set_length

_LOGGER = logging.getLogger('mobileode_mm')
#: MMEngine's visualisation backends by the name that ``--log-to`` takes, which is that of the package they need.
BACKENDS = {'tensorboard': 'TensorboardVisBackend', 'wandb': 'WandbVisBackend', 'clearml': 'ClearMLVisBackend'}


class Fitted(NamedTuple):
    """What was made.

    Attributes:
        config: The config file.
        checkpoint: The best weights; None in a dry run.
        report: The report; None in a dry run.
        metrics: Of the best weights on the test images, or on those of validation where there are none.
    """
    config: Path
    checkpoint: Path | None
    report: Path | None
    metrics: dict[str, float]


def fit(data: str | Path, work_dir: str | Path | None = None, model: str = 'mobileode_v1',
        start: str | Path | None = None, epochs: int | None = None, batch_size: int | None = None,
        size: int | None = None, seed: int = 0, dry_run: bool = False, log_to: Sequence[str] = (),
        trust: bool = False) -> Fitted:
    """Train a network on a folder of labelled images, and judge it.

    The folder's format, task, classes and splits are recognised (:mod:`mobileode_mm.data.formats`). What is chosen, and
    why, is printed and stands in the report. ``work_dir`` gets ``labels.png``, a sheet of labelled images; the config,
    which is the user's to keep; ``data/``, what the config reads; ``runs/``, the training; ``report.html``, and its
    figures as ``report.json``.

    Args:
        data: The folder; nothing in it is changed.
        work_dir: Folder to make; by default ``work_dirs/fit_<name of the data>``. It must not exist, or be empty.
        model: Name in :data:`mobileode_mm.fit.models.MODELS`.
        start: Checkpoint whose backbone is the start.
        epochs: Length of the training; chosen by the number of images.
        batch_size: Images of an iteration; chosen by memory and number of images.
        size: Side of the network's input, in pixels; chosen by the images.
        seed: Of the split, where the data have none, and of the training.
        dry_run: Do all but the training.
        log_to: Names in :data:`BACKENDS`, beside the local log.
        trust: Read a checkpoint that can run code when it is read.

    Raises:
        InputError: Something given cannot be used; before the training.

    Example:
        >>> from mobileode_mm.apis import fit
        >>> made = fit('trees', epochs=40)
        >>> made.metrics['AP50'], made.report
    """
    data = Path(data).expanduser()
    found = recognise(data)
    out = Path(work_dir).expanduser() if work_dir else Path('work_dirs', f'fit_{data.resolve().name}')
    check_new(str(out), '--work-dir')
    check_writable(str(out), 'folder', '--work-dir')
    _check_arguments(epochs, batch_size, size, log_to)
    if start:
        read_checkpoint(start, trust)  # before the data, which may take long
    every = [image for images in found.splits.values() for image in images]
    _say(f'{data}: {found.format}, {found.task}, {len(every)} images, {len(found.classes)} classes: '
         f'{listed(found.classes)}')
    plan = dict(detection=plan_detection, segmentation=plan_segmentation, classification=plan_classification)[
        found.task](found.splits.get('train') or every, found.classes, model, size)

    out.mkdir(parents=True, exist_ok=True)
    try:
        images, config = _prepare(found, plan, out, seed, epochs, batch_size, [BACKENDS[name] for name in log_to])
        if start:
            _check_start(config, start, trust)
        checked = verify_config(config) if dry_run else None  # a training does so itself
        if checked and checked.problems:
            raise InputError(checked.refusal())
    except BaseException:
        shutil.rmtree(out)
        raise
    for choice in plan.choices:
        _say(str(choice))
    for note in found.notes:
        _LOGGER.warning(note)
    _say(f'config: {config}; labels, to look at before anything else: {out / "labels.png"}')
    if checked:
        for note in checked.notes:
            _say(note.text('note: ', most=5))
        return Fitted(config, None, None, {})

    from ..inference.inferencer import Inferencer
    from ..runs.training import train
    from .checkpoint import choose_checkpoint
    from .judging import judge
    from .report import write_figures, write_report
    try:
        train(config, out / 'runs', load_backbone=start, trust=trust)
    except InputError:
        if not (out / 'runs').exists():  # refused before it began: the corrected command finds an empty place
            shutil.rmtree(out)
        raise
    best = choose_checkpoint(plan, out / 'runs', images['val'])
    _say(str(plan.choices[-1]))
    split = 'test' if 'test' in images else 'val'
    judged = judge(Inferencer(config, best), images[split])
    report = out / 'report.html'
    doubtful = out / 'runs' / 'data_check.txt'
    warnings = [*found.notes, *(doubtful.read_text('utf-8').splitlines() if doubtful.is_file() else [])]
    files = f'{quote(str(config))} {quote(str(best))}'
    commands = [f'mobileode infer {files} IMAGE...'
                + (f' --score-thr {judged.threshold:.2f}' if judged.threshold else ''),
                f'mobileode train {quote(str(config))} --work-dir AGAIN']
    commands += [f'mobileode export {files} --out model.onnx'
                 + dict(detection=' --with-nms', segmentation=' --dynamic size').get(plan.task, ''),
                 'mobileode run model.onnx IMAGE...']
    write_report(report, f'{data.resolve().name}: {plan.task} with {plan.model}', plan.choices, warnings,
                 out / 'labels.png', out / 'runs' / 'curves.png', split, images[split], found.classes, judged, commands)
    write_figures(report.with_suffix('.json'), plan.choices, warnings, split, len(images[split]), judged, commands)
    _say(', '.join(f'{name} {value:.3f}' for name, value in judged.metrics.items() if value == value)
         + f' on the {split} images; report: {report}')
    for command in commands:
        _say(f'next: {command}')
    return Fitted(config, best, report, judged.metrics)


def _check_arguments(epochs: int | None, batch_size: int | None, size: int | None, log_to: Sequence[str]) -> None:
    for flag, value, least in (('--epochs', epochs, 1), ('--batch-size', batch_size, 2), ('--size', size, 32)):
        if value is not None and value < least:
            raise InputError(f'{flag} {value}: a whole number of at least {least} is wanted')
    if size is not None and size % 32:
        raise InputError(f'--size {size}: a multiple of 32 is wanted, as the networks shrink images by 32')
    unknown = [name for name in log_to if name not in BACKENDS]
    if unknown:
        raise InputError(f'--log-to {unknown[0]} is none of {", ".join(BACKENDS)}')
    absent = [name for name in log_to if find_spec(name) is None]
    if absent:
        raise InputError(f'--log-to {absent[0]} needs the package {absent[0]}, which is not installed: '
                         f'pip install {absent[0]}')


def _check_start(config: Path, start: str | Path, trust: bool) -> None:
    """InputError where a checkpoint's backbone is not that of the config."""
    from ..runs.training import start_from_backbone
    cfg = load_config(config)
    start_from_backbone(cfg, start, trust)
    with config_scope(cfg):
        check_pretrained(build_model(cfg), trust)


def _prepare(found: Found, plan: Plan, out: Path, seed: int, epochs: int | None, batch_size: int | None,
             backends: Sequence[str]) -> tuple[dict[str, list[Image]], Path]:
    """Make all that a training reads; the images of each split, and the config."""
    from .report import label_sheet
    folder = out / 'data'
    folder.mkdir()
    images = _resolved_splits(found, plan, folder, seed)
    if plan.tiling:
        (folder / 'tiles').mkdir()
        side = plan.tiling.side  # each tile shares half of itself with the one before
        images['train'] = tiles.cut(images['train'], side, side // 2, folder / 'tiles', plan.tiling.scale)
    if plan.task == 'detection':
        fit_head(plan, images['train'])
        images['train'] = [image for image in images['train'] if len(image.boxes)]
    label_sheet(images['train'], found.classes, out / 'labels.png')
    set_length(plan, len(images['train']), epochs, batch_size)
    files = {split: writing.write_data(plan, images[split], split, folder) for split in images}
    files.setdefault('test', files['val'])
    config = out / f'{out.name}.py'
    config.write_text(writing.config_text(plan, found.folder.resolve().name, files, backends, seed), 'utf-8')
    return images, config


def _resolved_splits(found: Found, plan: Plan, folder: Path, seed: int) -> dict[str, list[Image]]:
    """Training, validation and, where the data have them, test images."""
    images = dict(found.splits)
    train = images.pop(ALL, None) or images.pop('train', None)
    if not train:
        raise InputError(f'{found.folder} has no training images: it has {", ".join(found.splits)}')
    if 'val' in images:
        plan.choose('validation', f'{len(images["val"])} images', 'the data say so')
    elif plan.tiling and len(train) < splits.FEW_IMAGES:
        (folder / 'parts').mkdir()
        train, images['val'], how = splits.part(train, folder / 'parts')
        plan.choose('validation', f'{len(images["val"])} parts of images', how)
    else:
        train, images['val'], how = splits.split_off(train, seed)
        plan.choose('validation', f'{len(images["val"])} images', how)
    if not images['val']:
        raise InputError(f'{found.folder} has {len(train)} training image: at least two are needed, one for validation')
    return {'train': train, **images}


def _say(line: str) -> None:
    print(line, flush=True)
