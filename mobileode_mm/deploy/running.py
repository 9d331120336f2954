"""Files of every format on images: what ``run_onnx.py`` does with ONNX files, with the runtimes that are installed."""

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from . import run_onnx
from .formats import FORMATS, Run, format_of, require, suppressed
from .tasks import Suppression
from .tiles import tiled


def run_file(path: str | Path, images: Sequence[str], score_thr: float = 0.3, masks: str | Path | None = None,
             threads: int = 0, custom_ops: str | Path | None = None) -> int:
    """Print a JSON line for each image.

    Args:
        path: A file of ``mobileode export``, of any format.
        images: Image files. One that cannot be used is named and skipped.
        score_thr: Boxes under this score are left out.
        masks: Folder for the masks of a segmentor, as PNG.
        threads: Of the runtime, 0: as many as it likes.
        custom_ops: Library of the operators of a ``.ops.onnx`` or ``.ops.xml`` file.

    Returns:
        The exit status: 1 where images were skipped.

    Raises:
        InputError: The file cannot be run, or the folder holds anything.
    """
    if threads < 0:
        raise InputError(f'--threads {threads}: a number of 1 or more is wanted')
    path, masks = Path(path).expanduser(), None if masks is None else Path(masks).expanduser()
    try:
        network = open_file(path, threads, custom_ops)
        run_onnx.check_arguments(network.task, path, score_thr, masks)
        return run_onnx.run(network, images, score_thr, masks)
    except run_onnx.Refused as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f'cannot write: {error}') from error


def open_file(path: Path, threads: int = 0, custom_ops: str | Path | None = None) -> run_onnx.Network:
    """The network in a file; a detector's suppresses, by itself or behind the file.

    Raises:
        InputError: The file cannot be run.
        run_onnx.Refused: Its metadata are not those of an export.
    """
    file_format = format_of(path)
    library = None if custom_ops is None else Path(custom_ops).resolve()
    one = FORMATS[file_format].with_library(library)
    if library and not one.operator:
        raise InputError(f'--custom-ops is for files of ONNX and OpenVINO, and {path} is none')
    require(file_format, one.runs_with)
    absent = [str(file) for file in one.files(path) if not file.is_file()]
    if absent:
        raise InputError(f'{" and ".join(absent)}: no such file')
    try:
        metadata = one.metadata(path)
        facts = run_onnx.facts(path, metadata)
        call = one.load(path, threads)
    except (InputError, run_onnx.Refused):
        raise
    except Exception as error:  # each runtime has its own types
        raise InputError(f'{path} cannot be loaded: {run_onnx.first_line(error)}') from error
    names = list(run_onnx.OUTPUTS[facts[0]])
    outputs = json.loads(metadata.get('outputs', 'null'))
    if outputs == ['boxes', 'scores']:
        call = _suppressed(call, metadata, path)
    elif outputs != names:
        raise InputError(f'{path} has not the outputs of a {facts[0]}')
    if 'tiles' in metadata:
        call = tiled(call, json.loads(metadata['tiles']), json.loads(metadata['normalisation'])['mean'])
    return run_onnx.Network(*facts, lambda image: dict(zip(names, call(image))))


def _suppressed(call: Run, metadata: dict[str, str], path: Path) -> Run:
    """A call that gives all boxes, and behind it the choice of the best."""
    if 'suppression' not in metadata:
        raise InputError(f'{path} gives all boxes, and does not say how the best are chosen: it was exported for '
                         'images of any size, or its network does that otherwise; export it with --with-nms, or a '
                         'fixed size')
    how = json.loads(metadata['suppression'])
    return suppressed(call, how.pop('levels'), Suppression(**how))
