"""OpenVINO's format, for Intel's processors and others."""

import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor

from ...errors import InputError
from ..kernel_library import OPERATORS
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
    operator = OPERATORS / 'ov/operator.cpp'

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        import openvino
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, 'network.onnx')
            Onnx().write(task, example, dynamic, source, {})
            # By the reader, not openvino.convert_model, which reports its use to a server.
            _, model = self._read(source)
            if self.library is not None:
                _join_transposes(model)
            for name, value in metadata.items():
                model.set_rt_info(value, [_PLACE, name])
            openvino.save_model(model, path, compress_to_fp16=False)

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`."""
        # Where a processor has bfloat16, that is its own choice.
        settings = {'INFERENCE_PRECISION_HINT': 'f32'} | ({'INFERENCE_NUM_THREADS': threads} if threads else {})
        core, model = self._read(path)
        compiled = core.compile_model(model, 'CPU', settings)

        def run(image):
            found = compiled([image])
            return [found[output] for output in compiled.outputs]

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        _, model = self._read(path)
        if not model.has_rt_info(_PLACE):
            return {}
        return {name: value.astype(str) for name, value in model.get_rt_info(_PLACE).astype(dict).items()}

    def compiler_flags(self) -> list[str]:
        """See :class:`Format`."""
        folder = Path(importlib.util.find_spec('openvino').origin).parent
        libraries = [*folder.glob('libs/libopenvino.so.*'), *folder.glob('libs/libtbb.so.*')]
        if len(libraries) != 2 or not (folder / 'include/openvino/op/op.hpp').is_file():
            raise InputError(f'--custom-ops: {folder} has not the headers and libraries that OpenVINO\'s package for '
                             'Linux brings')
        # Once loaded it stays: operators may outlive the core that loads it, which would take their code away.
        return ['-Wl,-z,nodelete', '-isystem', str(folder / 'include'), *map(str, libraries)]

    def _read(self, path: Path):
        """OpenVINO, with our operator where there is a library of it, and a model that it reads."""
        import openvino
        core = openvino.Core()
        try:
            if self.library is not None:
                core.add_extension(self.library)
            return core, core.read_model(path)
        except RuntimeError as error:  # its lines say where in OpenVINO's code, the last one what
            reason = str(error).strip().splitlines()[-1].strip()
            if self.library is None and reason.endswith(': mobileode'):
                reason += "; give the operator's library, as --custom-ops"
            raise InputError(f'{path} cannot be loaded: {reason}') from error


def _join_transposes(model) -> None:
    """Take out what transposes back what was just transposed, as between two of our operators: OpenVINO would do both.

    Args:
        model: Of OpenVINO; is changed.
    """
    for back in model.get_ordered_ops():
        there = back.input_value(0).get_node() if back.get_type_name() == 'Transpose' else back
        if there is back or there.get_type_name() != 'Transpose':
            continue
        orders = [node.input_value(1).get_node().get_data() for node in (there, back)]
        if np.array_equal(orders[0][orders[1]], np.arange(len(orders[0]))):
            for user in back.output(0).get_target_inputs():
                user.replace_source_output(there.input_value(0))
