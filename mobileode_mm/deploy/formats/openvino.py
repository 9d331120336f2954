"""OpenVINO's format, for Intel's processors and others."""

import tempfile
from pathlib import Path

from torch import Tensor

from ..tasks import Task
from .common import Format, Run
from .onnx import Onnx

#: Where in the model's runtime information the metadata stand.
_PLACE = 'mobileode'


class OpenVINO(Format):
    """Written by way of ONNX, whose operators it has all: suppression inside, batch and size free."""

    suffix = '.xml'
    beside = ('.bin', )
    extra = 'openvino'
    writes_with = ('onnx', 'onnxscript', 'openvino')
    runs_with = ('openvino', )

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        import openvino
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, 'network.onnx')
            Onnx().write(task, example, dynamic, source, {})
            # By the reader, not openvino.convert_model, which reports its use to a server.
            model = openvino.Core().read_model(source)
            for name, value in metadata.items():
                model.set_rt_info(value, [_PLACE, name])
            openvino.save_model(model, path, compress_to_fp16=False)

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`."""
        import openvino
        # Where a processor has bfloat16, that is its own choice.
        settings = {'INFERENCE_PRECISION_HINT': 'f32'} | ({'INFERENCE_NUM_THREADS': threads} if threads else {})
        compiled = openvino.Core().compile_model(path, 'CPU', settings)

        def run(image):
            found = compiled([image])
            return [found[output] for output in compiled.outputs]

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        import openvino
        model = openvino.Core().read_model(path)
        if not model.has_rt_info(_PLACE):
            return {}
        return {name: value.astype(str) for name, value in model.get_rt_info(_PLACE).astype(dict).items()}
