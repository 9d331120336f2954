"""A trained network in every form that is measured: as PyTorch modules, and as the files that are made of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mobileode_mm.deploy import export, parity, tasks
from mobileode_mm.deploy.exporting import deployed_copy
from mobileode_mm.deploy.formats import FORMATS, Run, load, quiet, run_of, suppressed
from mobileode_mm.deploy.inputs import Images, fixed_size, preparation, samples
from mobileode_mm.deploy.tiles import tiles_of
from mobileode_mm.engine.compiling import fault_of_compiler
from mobileode_mm.errors import InputError
from mobileode_mm.inference.inferencer import Inferencer
from mobileode_mm.runs.checks import config_scope

#: Forms in PyTorch: as trained, the deploy form, that compiled.
MODULES = ('eager', 'deploy', 'compiled')
#: By format, files made along with its own: with our kernel, in int8 for speed and for size, in half precision.
ALONG = {'onnx': ('onnx-kernel', 'onnx-int8', 'onnx-int8-size', 'onnx-fp16'), 'openvino': ('openvino-kernel', )}
KINDS = (*MODULES, *(kind for name in FORMATS for kind in (name, *ALONG.get(name, ()))))


class Network(NamedTuple):
    """A checkpoint and how it is called.

    Attributes:
        name: In tables.
        config: Its config file.
        checkpoint: Its weights.
        trained: Whether its accuracy says anything.
        steps: Of the solvers of a network with ``anytime``; None for its own choice.
    """
    name: str
    config: Path
    checkpoint: Path
    trained: bool = True
    steps: int | tuple[int, ...] | None = None


class Variant(NamedTuple):
    """A network in one form.

    Attributes:
        network: Its name.
        kind: One of :data:`KINDS`.
        start: ``start(threads)`` gives the function that runs it.
        image: What it is timed on, (1, H, W, 3), uint8.
        complete: Whether a detector's suppression is inside.
        whole: A function that runs it, with suppression behind it where it is not inside.
        parity: The largest difference from the network as it was trained, and of what.
        files: The file and those that belong to it; empty for modules.
    """
    network: str
    kind: str
    start: Callable[[int], Run]
    image: np.ndarray
    complete: bool
    whole: Callable[[Run], Run]
    parity: str
    files: Sequence[Path]


class Made(NamedTuple):
    """What was made of a network.

    Attributes:
        inferencer: The network as it was trained.
        size: Height and width of its images.
        variants: Its forms.
        notes: Lines on what there is not, and why.
    """
    inferencer: Inferencer
    size: tuple[int, int]
    variants: list[Variant]
    notes: list[str]


def format_of_kind(kind: str) -> str:
    """The format whose runtime runs a kind of file."""
    return next((name for name, kinds in ALONG.items() if kind in kinds), kind)


def make(network: Network, kinds: Sequence[str], folder: Path, size: Sequence[int] | None, trust: bool) -> Made:
    """Make what is wanted of a network, each form compared with the network as it was trained.

    Args:
        network: The checkpoint.
        kinds: Of :data:`KINDS`.
        folder: Where the files are written.
        size: Height and width of the images, where the config does not say it.
        trust: Read a checkpoint that can run code when it is read.

    Raises:
        InputError: The network cannot be read or has no size. What a format refuses is a note.
    """
    inferencer = Inferencer(network.config, network.checkpoint, 'cpu', trust, deploy=False, steps=network.steps)
    if tiles_of(inferencer.cfg):
        raise InputError(f'{network.config} sees images tile by tile (model.test_cfg.tile); no file computes what is '
                         'measured here, whole images: leave it out')
    _, size = fixed_size(preparation(inferencer.cfg), size, inferencer.cfg.model.backbone.get('input_size'))
    images, _ = samples(inferencer, 2, size)
    batches = [np.ascontiguousarray(image[None]) for image in images]
    kind = tasks.TASKS[inferencer.task][-1]
    reference = kind(inferencer.model, inferencer.takes_rgb).eval()
    deployed = kind(deployed_copy(inferencer.model, size), inferencer.takes_rgb).eval()
    behind = _suppression(reference, batches[0])
    variants, notes = [], []

    def add(name, start, how_far, files=(), complete=True):
        variants.append(Variant(network.name, name, start, batches[0], complete,
                                (lambda run: run) if complete else behind, how_far, files))

    fault = fault_of_compiler(torch.device('cpu')) if 'compiled' in kinds else None
    if fault is not None:
        notes.append(f'{network.name}, compiled: {fault}')
        kinds = [name for name in kinds if name != 'compiled']
    with config_scope(inferencer.cfg):
        for name in [name for name in MODULES if name in kinds]:
            module = dict(eager=reference).get(name, deployed)
            if name == 'compiled':
                module = torch.compile(deployed, fullgraph=True, dynamic=False)
            run = run_of(module)
            rows = parity.compare(reference, deployed, run, batches)
            if not all(row.good for row in rows):
                raise InputError(f'{network.name}, {name}, does not compute what the network computes\n'
                                 f'{parity.table(rows)}')
            add(name, _on_torch_threads(run), '–' if name == 'eager' else _worst(rows))
    for name, one in FORMATS.items():
        if name not in map(format_of_kind, kinds):
            continue
        path = folder / name / f'{network.name}{one.suffix}'
        with_kernel = f'{name}-kernel' in kinds
        complete = inferencer.task != 'detection' or not one.why_no_nms
        try:
            done = export(network.config, network.checkpoint, path, name, inferencer.task == 'detection' and complete,
                          size=size, trust=trust, custom_ops=with_kernel)
        except InputError as error:
            notes.append(f'{network.name}, {name}: {error}')
            continue
        if name in kinds:
            add(name, lambda threads, path=path, name=name: load(path, name, threads), _worst(done.rows),
                one.files(path), complete)
        if with_kernel:
            files = one.kernel_files(path)
            add(f'{name}-kernel', lambda threads, files=files, name=name: load(files[0], name, threads, files[-1]),
                '–', files, complete)
        if name == 'onnx':
            for other, out in _from_onnx(inferencer, path, kinds, notes):
                add(other, lambda threads, out=out: load(out, 'onnx', threads), '–', [out])
    order = {name: place for place, name in enumerate(KINDS)}
    return Made(inferencer, size, sorted(variants, key=lambda one: order[one.kind]), notes)


def _from_onnx(inferencer: Inferencer, path: Path, kinds: Sequence[str],
               notes: list[str]) -> list[tuple[str, Path]]:
    """Kind and file of what an ONNX file is turned into."""
    found = []
    for name, aim in (('onnx-int8', 'speed'), ('onnx-int8-size', 'size')):
        if name in kinds:
            from mobileode_mm.deploy.int8 import quantise
            out = path.with_suffix(f'.{name}.onnx')
            try:
                lines = quantise(Images(inferencer, 'train'), path, out, aim)
                notes += [f'{path.stem}, {name}: {line}' for line in lines]
            except FileNotFoundError as error:
                notes.append(f'{path.stem}, {name}: not made, as it is calibrated on the training data: {error}')
            if out.exists():
                found.append((name, out))
    if 'onnx-fp16' in kinds:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
        out = path.with_suffix('.onnx-fp16.onnx')
        with quiet():
            half = OnnxModel(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True))
            half.topological_sort()
            del half.model.graph.value_info[:]  # still of float32
            onnx.save(half.model, str(out))
        found.append(('onnx-fp16', out))
    return found


def _suppression(reference: tasks.Task, image: np.ndarray) -> Callable[[Run], Run]:
    """What makes best boxes of a detector's boxes and scores of all anchors."""
    if not isinstance(reference, tasks.SuppressingDetector):
        return lambda run: run
    with torch.no_grad():
        counts = reference.counts(torch.from_numpy(image))
    return lambda run: suppressed(run, counts, reference.suppression)


def _on_torch_threads(run: Run) -> Callable[[int], Run]:
    """Modules run on torch's threads, which are the caller's matter."""
    return lambda threads: run


def _worst(rows: Sequence[parity.Row]) -> str:
    worst = max(rows, key=lambda row: row.difference / max(row.limit, 1e-12))
    return f'{worst.difference:.0e} {worst.quantity}'
