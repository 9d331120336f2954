"""The files: how they are written, and how they are run again."""

import io
import json
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .nms import onnx_translations
from .onnx_ops import require_compiler
from .tasks import Task

#: Names of the files by format.
SUFFIXES = {'onnx': '.onnx', 'torchscript': '.pt', 'exported-program': '.pt2'}
DYNAMIC = ('none', 'batch', 'size', 'both')
OPSET = 18
_AXES = ('batch', 'height', 'width')
_META = 'metadata.json'

Run = Callable[[np.ndarray], list[np.ndarray]]


def needed(file_format: str, int8: bool, custom_ops: bool = False) -> None:
    """InputError where something that the format needs is not installed."""
    try:
        if file_format == 'onnx':
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f'--format onnx needs {error.name}: pip install "mobileode-mm[deploy]"') from error
    if int8 and file_format != 'onnx':
        raise InputError('--int8 is for --format onnx')
    if custom_ops:
        if file_format != 'onnx':
            raise InputError('--custom-ops is for --format onnx')
        if not hasattr(torch.onnx, 'ops'):
            raise InputError(f'--custom-ops needs torch 2.8 or later, and torch {torch.__version__} is installed')
        require_compiler()


@torch.no_grad()
def write(task: Task, example: Tensor, dynamic: str, file_format: str, path: Path, metadata: dict[str, str]) -> None:
    """Write a task into a file.

    Args:
        task: In eval mode, the network in its deploy form.
        example: (B, H, W, 3), uint8; its size is the file's where that is not dynamic.
        dynamic: One of :data:`DYNAMIC`: which of batch and size may differ.
        file_format: One of :data:`SUFFIXES`.
        path: The file.
        metadata: Goes into the file.
    """
    if file_format == 'torchscript':
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            traced = torch.jit.trace(task, example, check_trace=False)
        torch.jit.save(traced, path, _extra_files={_META: json.dumps(metadata)})
        return
    axes = {'none': (), 'batch': (0, ), 'size': (1, 2), 'both': (0, 1, 2)}[dynamic]
    shapes = ({axis: torch.export.Dim.DYNAMIC for axis in axes}, ) if axes else None
    program = torch.export.export(task, (example, ), dynamic_shapes=shapes)
    if file_format == 'exported-program':
        torch.export.save(program, path, extra_files={_META: json.dumps(metadata)})
        return
    import onnx
    with quiet():
        made = torch.onnx.export(program, (example, ), input_names=['image'], output_names=list(task.outputs),
                                 opset_version=OPSET, dynamo=True, custom_translation_table=onnx_translations())
    model = made.model_proto
    _name_axes(model.graph)
    # Where each operator came from: half a megabyte, and the paths of the machine that exported.
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output,
                  *model.graph.initializer):
        entry.ClearField('metadata_props')
        entry.ClearField('doc_string')
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))


def run_of(task: Callable) -> Run:
    """The same function of a task as a module, in PyTorch."""
    def run(image):
        with torch.no_grad():
            return [output.numpy() for output in task(torch.from_numpy(image))]

    return run


def load(path: Path, file_format: str, threads: int = 0, library: Path | None = None) -> Run:
    """A function from a batch (B, H, W, 3), uint8, RGB, to the file's outputs.

    An ONNX file is checked first. onnxruntime takes ``threads`` for it, 0: as many as it likes, and the operators of
    ``library``.
    """
    if file_format == 'onnx':
        import onnx
        import onnxruntime
        onnx.checker.check_model(str(path), full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait for the next call by spinning take the processor from whatever else is timed in turn.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        if library is not None:
            options.register_custom_ops_library(str(library))
        session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        return lambda image: session.run(None, {'image': image})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch's own, on the buffers of a file that it reads
        return run_of(torch.jit.load(path) if file_format == 'torchscript' else torch.export.load(path).module())


def onnx_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself."""
    import onnx
    return {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}


def _name_axes(graph) -> None:
    """Call the free axes batch, height and width wherever they stand alone."""
    names = {dim.dim_param: name for dim, name in zip(graph.input[0].type.tensor_type.shape.dim, _AXES)
             if dim.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


@contextmanager
def quiet():
    """Without what exporters, quantisers and metrics remark on their progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)
