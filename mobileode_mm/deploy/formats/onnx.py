"""ONNX, for onnxruntime and whatever else reads it."""

from pathlib import Path

import torch
from torch import Tensor

from ..kernel_library import OPERATORS
from ..nms import onnx_translations
from ..tasks import Task
from .common import Format, Run, program, quiet

OPSET = 18
_AXES = ('batch', 'height', 'width')


class Onnx(Format):
    """The metadata are the model's properties."""

    suffix = '.onnx'
    extra = 'deploy'
    writes_with = ('onnx', 'onnxscript')
    runs_with = ('onnx', 'onnxruntime')
    operator = OPERATORS / 'ort/operator.cpp'

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        import onnx
        exported = program(task, example, dynamic)
        with quiet():
            made = torch.onnx.export(exported, (example, ), input_names=['image'], output_names=list(task.outputs),
                                     opset_version=OPSET, dynamo=True, custom_translation_table=onnx_translations())
        model = made.model_proto
        _name_axes(model.graph)
        # Where each operator came from: half a megabyte, and the paths of the machine that exported.
        for entry in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output,
                      *model.graph.initializer):
            entry.ClearField('metadata_props')
            entry.ClearField('doc_string')
        # Constants have their shapes in themselves. Where onnxruntime's quantize_dynamic turns a matrix over, a second
        # word on its shape would be wrong.
        constants = {entry.name for entry in model.graph.initializer}
        shapes = [entry for entry in model.graph.value_info if entry.name not in constants]
        del model.graph.value_info[:]
        model.graph.value_info.extend(shapes)
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, str(path))

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`; the file is checked first."""
        import onnx
        import onnxruntime
        onnx.checker.check_model(str(path), full_check=True)
        options = session_options(threads)
        if self.library is not None:
            options.register_custom_ops_library(str(self.library))
        session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        return lambda image: session.run(None, {'image': image})

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        import onnx
        return {entry.key: entry.value for entry in onnx.load(str(path), load_external_data=False).metadata_props}


def session_options(threads: int):
    """onnxruntime's options for a session of so many threads, 0: as many as it likes."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for the next call by spinning take the processor from whatever else is timed in turn.
    options.add_session_config_entry('session.force_spinning_stop', '1')
    return options


def _name_axes(graph) -> None:
    """Call the free axes batch, height and width wherever they stand alone."""
    names = {dim.dim_param: name for dim, name in zip(graph.input[0].type.tensor_type.shape.dim, _AXES)
             if dim.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
