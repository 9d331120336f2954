"""From a checkpoint to a file that was compared with the network."""

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .. import __version__
from ..backbones import Deployable, anytime_backbones, switch_to_files
from ..errors import InputError
from ..inference.inferencer import Inferencer
from ..runs.checks import check_new, check_writable, config_scope
from . import browser, parity
from . import tasks as networks
from .formats import FORMATS, check_able, load, needed, write
from .inputs import Images, fixed_size, preparation, samples
from .kernel_library import build_library
from .steps import choose_steps
from .tiles import tiles_of

_SAMPLES = 4
_AIMS = ('speed', 'size')


class Exported(NamedTuple):
    """A file that was made.

    Attributes:
        path: The file.
        rows: How it compares with the network.
        metadata: What it says of itself.
        lines: What else there is to say, for people.
    """
    path: Path
    rows: list[parity.Row]
    metadata: dict[str, str]
    lines: list[str]


def export(config: str | Path, checkpoint: str | Path, out: str | Path, file_format: str = 'onnx',
           with_nms: bool = False, dynamic: str = 'none', size: Sequence[int] | None = None, int8: str | None = None,
           trust: bool = False, cfg_options: dict | None = None, custom_ops: bool = False,
           web_runtime: str | Path | None = None, steps: int | Sequence[int] | None = None,
           max_drop: float | None = None) -> Exported:
    """Write a trained network with its pre- and post-processing into a file.

    The input is a batch of images (B, H, W, 3), uint8, RGB. Before the file gets its name it is checked, run, and
    compared with the network on images of the test data.

    Args:
        config: Config file of a detector with a head of :func:`mobileode_mm.deploy.heads.reader_of`, a segmentor or a
            classifier.
        checkpoint: Its weights.
        out: The file, or of ``'web'`` the folder, which must not exist.
        file_format: One of ``mobileode_mm.deploy.formats.FORMATS``, or ``'web'``, a folder with a page that runs an
            ONNX file in a browser.
        with_nms: For detectors, in formats that can: the best boxes after suppression instead of all of them.
            ``'web'`` always does so.
        dynamic: What may differ from call to call: ``'none'``, ``'batch'``, ``'size'`` or ``'both'``.
        size: Height and width of the images, where they are fixed; by default the test pipeline's.
        int8: ONNX alone: also write ``<out>.int8.onnx``, quantised and calibrated on the training data, and measure
            both on the test data. ``'speed'``: with those operators in int8 that are faster so on this processor, and
            not at all where none is; ``'size'``: with all products.
        trust: Read a checkpoint that can run code when it is read.
        cfg_options: Dotted config keys and values that replace the file's.
        custom_ops: ONNX and OpenVINO: also write ``<out>.ops.onnx`` or ``<out>.ops.xml``, in which each solver is one
            node of ours, and the library that has it for the runtime on this machine, ``<out>.ops.so``.
        web_runtime: For ``'web'``: the npm package onnxruntime-web, as its archive or unpacked; by default npm fetches
            it.
        steps: Of the solvers of a network with ``anytime``: one number, or one for each stage with solvers.
        max_drop: ONNX alone, in the place of ``steps``: the fastest that lose at most so many points of the metric on
            the validation data (:func:`choose_steps`).

    Raises:
        InputError: Something given cannot be used, or the file does not compute what the network does.
    """
    web = file_format == 'web'
    if web:
        file_format = 'onnx'  # of the file that the page runs
        if int8 or custom_ops:
            raise InputError(f'--{"int8" if int8 else "custom-ops"} is for --format onnx')
    elif web_runtime is not None:
        raise InputError('--web-runtime is for --format web')
    _check_arguments(file_format, with_nms, dynamic, size, int8)
    _check_max_drop(max_drop, 'web' if web else file_format, steps)
    needed(file_format, bool(int8), custom_ops)
    targets = _targets(Path(out).expanduser(), file_format, bool(int8), custom_ops, web)
    runtime = browser.runtime_files(web_runtime) if web else {}
    inferencer = Inferencer(config, checkpoint, 'cpu', trust, cfg_options, deploy=False, steps=steps)
    kind = _task(inferencer.task, with_nms or web and inferencer.task == 'detection',
                 '--int8' if int8 else '' if max_drop is None else '--max-drop')
    lines = [*inferencer.notes]
    prepare = preparation(inferencer.cfg)
    tiles = tiles_of(inferencer.cfg, size, dynamic, bool(int8))
    if tiles and web:
        raise InputError(f'{inferencer.cfg.filename} sees images in tiles (model.test_cfg.tile), which the page of '
                         '--format web cannot; export a file, which `mobileode run` takes')
    if tiles:
        size = (tiles['size'], ) * 2
    elif dynamic in ('none', 'batch'):
        if not prepare:
            lines.append('images of other sizes than that of the file are resized to it, which the test pipeline does '
                         'not do: their predictions are not those of `mobileode infer`; --dynamic size takes any size')
        prepare, size = fixed_size(prepare, size, inferencer.cfg.model.backbone.get('input_size'))
    data = _data(inferencer) if int8 else None
    images, origin = samples(inferencer, _SAMPLES, size)
    lines.append(f'compared on {len(images)} {origin}')
    if max_drop is not None:
        lines += choose_steps(inferencer, lambda: kind(file_copy(inferencer.model, size), inferencer.takes_rgb).eval(),
                              _example(size, dynamic), dynamic, images[0][None], size, max_drop)
    reference = kind(inferencer.model, inferencer.takes_rgb).eval()
    deployed = kind(file_copy(inferencer.model, size, file_format=file_format), inferencer.takes_rgb).eval()
    metadata = _metadata(inferencer, deployed, prepare, size, dynamic, tiles)

    targets[0].parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=targets[0].parent) as folder, config_scope(inferencer.cfg):
        made = [Path(folder, target.name) for target in targets]
        file = made[0]
        if web:
            examples = _examples(inferencer)
            file = browser.write_folder(made[0], runtime, metadata, examples)
            lines.append(f'{len(examples)} example images of the test data are copied into examples/')
        write(deployed, _example(size, dynamic), dynamic, file_format, file, metadata)
        rows = parity.compare(reference, deployed, load(file, file_format), _batches(images, dynamic))
        _check_rows(rows, targets[0])
        if int8 and data:
            from .int8 import compared, quantise
            train, test = data
            lines += quantise(train, *made[:2], int8)
            lines += compared(inferencer, test, dict(zip(('float32', 'int8'), made)))
        if custom_ops:
            kernels = kind(file_copy(inferencer.model, size, True, file_format), inferencer.takes_rgb).eval()
            one = FORMATS[file_format]
            own, *_, library = one.kernel_files(file)
            build_library(one.operator, one.compiler_flags(), library)
            write(kernels, _example(size, dynamic), dynamic, file_format, own, metadata, library)
            rows_of_own = parity.compare(reference, kernels, load(own, file_format, library=library),
                                         _batches(images, dynamic))
            _check_rows(rows_of_own, targets[made.index(own)])
            lines.append(f'{own.name}, which runs with {library.name}, was compared alike')
        for path, target in reversed([*zip(made, targets)]):  # the file itself last: what belongs to it is there
            if path.exists():  # eight bits may not have gained
                check_new(str(target), '--out')
                os.replace(path, target)
    return Exported(targets[0], rows, metadata, lines)


def _check_arguments(file_format: str, with_nms: bool, dynamic: str, size: Sequence[int] | None,
                     int8: str | None) -> None:
    check_able(file_format, with_nms, dynamic)
    if int8 is not None and int8 not in _AIMS:
        raise InputError(f'--int8 {int8} is none of {", ".join(_AIMS)}')
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InputError(f'--size {" ".join(map(str, size))}: a height and a width in pixels are wanted')
    if size is not None and dynamic in ('size', 'both'):
        raise InputError(f'--size fixes what --dynamic {dynamic} leaves free; give one of the two')


def _check_max_drop(max_drop: float | None, file_format: str, steps: int | Sequence[int] | None) -> None:
    if max_drop is None:
        return
    if not max_drop >= 0:
        raise InputError(f'--max-drop {max_drop:g}: a number of points of 0 or more is wanted')
    if steps is not None:
        raise InputError('--max-drop looks for steps and --steps names them; give one of the two')
    if file_format != 'onnx':
        raise InputError('--max-drop measures in onnxruntime: it is for --format onnx')


def _check_rows(rows: list[parity.Row], target: Path) -> None:
    wrong = [row.quantity for row in rows if not row.good]
    if wrong:
        hint = ('\nWhere scores are alike but for rounding, as those of a hardly trained network, chance chooses the '
                'boxes; without --with-nms all are compared') if wrong == ['not found'] else ''
        raise InputError(f'{target} is not written: it does not compute what the network computes\n'
                         f'{parity.table(rows)}{hint}')


def _targets(out: Path, file_format: str, int8: bool, custom_ops: bool, web: bool) -> list[Path]:
    """The files to write, none of which exists."""
    targets = [out]
    if not web:
        suffix = FORMATS[file_format].suffix
        if not out.name.endswith(suffix) or out.name == suffix:
            raise InputError(f'--out {out}: the name of a file of --format {file_format} ends in {suffix}')
        targets = FORMATS[file_format].files(out)
    if int8:
        targets.append(out.with_suffix('.int8.onnx'))
    if custom_ops:
        targets += FORMATS[file_format].kernel_files(out)
    for target in targets:
        check_new(str(target), '--out')
    check_writable(str(out.parent), 'folder', '--out')
    return targets


def _task(task: str, with_nms: bool, measuring: str) -> type[networks.Task]:
    """What becomes of the network; ``measuring`` is the flag that has its metric measured, if any."""
    if task == 'detection':
        if measuring and not with_nms:
            raise InputError(f'{measuring} of a detector needs --with-nms: its metric is one of suppressed boxes')
        return networks.SuppressingDetector if with_nms else networks.Detector
    if with_nms:
        raise InputError(f'--with-nms is for detectors; the config is one of {task}')
    return networks.TASKS[task][0]


def _data(inferencer: Inferencer) -> tuple[Images, Images]:
    """Training and test data."""
    try:
        return Images(inferencer, 'train'), Images(inferencer, 'test')
    except FileNotFoundError as error:
        raise InputError('--int8 is calibrated on the training data and measured on the test data, which are not all '
                         f'there: {error}') from error


def _examples(inferencer: Inferencer) -> list[Path]:
    """Files of the test data that browsers can show; none where the data are not there."""
    try:
        files = Images(inferencer, 'test').files(_SAMPLES)
    except FileNotFoundError:
        return []
    return [file for file in files if file.suffix.lower() in browser.SHOWN]


def deployed_copy(model: torch.nn.Module, size: tuple[int, int] | None) -> torch.nn.Module:
    """A copy in deploy form, for images of ``size``; InputError where a model has none."""
    if not isinstance(model, Deployable):
        raise InputError(f'{type(model).__name__} has no deploy form; set model.type to one that has, whatever the '
                         'backbone: mobileode_mm.detection.FittedDetector (single-stage) or SSDLite, '
                         'mobileode_mm.segmentation.DeepLabV3, mobileode_mm.classification.FittedClassifier')
    model = copy.deepcopy(model)
    model.switch_to_deploy(None if size is None else networks.padded_size(model.data_preprocessor, size))
    return model


def file_copy(model: torch.nn.Module, size: tuple[int, int] | None, kernel: bool = False,
              file_format: str = 'onnx') -> torch.nn.Module:
    """A :func:`deployed_copy` made of the operators that a format's runtime runs fastest, or with our kernel as one."""
    model = deployed_copy(model, size)
    switch_to_files(model, kernel, FORMATS[file_format].matrices_up_to)
    return model


def _metadata(inferencer: Inferencer, task: networks.Task, steps: list[dict], size: tuple[int, int] | None,
              dynamic: str, tiles: dict | None) -> dict[str, str]:
    """What a program has to know that runs the file: plain strings, lists and dicts as JSON.

    The normalisation is done inside the network, and here for people alone.
    """
    values = dict(
        task=inferencer.task, classes=json.dumps(inferencer.classes), outputs=json.dumps(task.outputs),
        input='batch, height, width, 3; uint8; RGB', prepare=json.dumps(steps), dynamic=dynamic,
        size=json.dumps(size), normalisation=json.dumps(task.normalise.in_rgb()), precision='float32',
        version=f'mobileode_mm {__version__}')
    for backbone in anytime_backbones(inferencer.model):
        values['steps'] = json.dumps(backbone.num_steps)
    if inferencer.metainfo.get('palette'):
        values['palette'] = json.dumps([list(map(int, colour)) for colour in inferencer.metainfo['palette']])
    if tiles:
        values['tiles'] = json.dumps(tiles)
    if type(task) is networks.Detector and size is not None:
        with suppress(InputError):  # where its suppression is another, that is left to whoever runs the file
            values['suppression'] = _suppression(task, size)
    return values


def _suppression(task: networks.Detector, size: tuple[int, int]) -> str:
    """For who runs a file of all boxes: how the best are chosen, and how many anchors each map has. JSON."""
    how = networks.Suppression.of(task.model.test_cfg)
    with torch.no_grad():
        return json.dumps(dict(how._asdict(), levels=task.counts(_example(size, 'none'))))


def _example(size: tuple[int, int] | None, dynamic: str) -> torch.Tensor:
    """Sides that differ: an export takes equal ones for one and the same."""
    height, width = size or (160, 192)
    batch = 2 if dynamic in ('batch', 'both') else 1
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=generator)


def _batches(images: list[np.ndarray], dynamic: str) -> list[np.ndarray]:
    batches = [image[None] for image in images]
    if dynamic in ('batch', 'both'):
        batches.append(np.stack([images[0], images[0][::-1, ::-1], images[0][::-1]]))
    return batches
