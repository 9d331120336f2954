"""Static post-training quantisation of ONNX files: what gains by it, and what it costs in accuracy."""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..inference.inferencer import Inferencer
from . import precision
from .accuracy import accuracy
from .formats import load, onnx_metadata, quiet
from .inputs import Images

_CALIBRATION_IMAGES = 100
#: Products, which hold the weights.
_PRODUCTS = ('Conv', 'MatMul', 'Gemm')
_OPERATORS = [*_PRODUCTS, 'Add', 'Mul', 'Clip', 'Relu', 'Sigmoid']


class _Reader(CalibrationDataReader):
    """Images, one at a time."""

    def __init__(self, images: list[np.ndarray]):
        self._images = iter(images)

    def get_next(self):
        image = next(self._images, None)
        return None if image is None else {'image': image}


class Quantiser:
    """Writes an ONNX file again with some of its operators in int8.

    Weights have one scale a channel, activations one scale and zero point a map, calibrated by their least and largest
    values on images.

    Args:
        source: The file, in float32. Beside it intermediate files are written.
        images: To calibrate on, each (1, H, W, 3), uint8.
    """

    def __init__(self, source: Path, images: list[np.ndarray]):
        prepared, augmented = source.with_suffix('.prepared.onnx'), source.with_suffix('.augmented.onnx')
        with quiet():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            calibrator = create_calibrator(str(prepared), _OPERATORS, str(augmented))
            calibrator.collect_data(_Reader(images))
            self._ranges = calibrator.compute_data()
        self._metadata = dict(onnx_metadata(source), precision='int8')
        #: The file as it is quantised: constants folded, operators named.
        self.model = onnx.load(str(prepared))

    def products(self) -> frozenset[str]:
        """Names of all that hold weights."""
        return frozenset(node.name for node in self.model.graph.node if node.op_type in _PRODUCTS)

    def write(self, nodes: frozenset[str], out: Path) -> Path:
        """Write the file with these nodes in int8; returns ``out``."""
        with quiet():
            quantiser = QDQQuantizer(copy.deepcopy(self.model), per_channel=True, reduce_range=False,
                                     weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8,
                                     tensors_range=self._ranges, nodes_to_quantize=sorted(nodes), nodes_to_exclude=[],
                                     op_types_to_quantize=_OPERATORS, extra_options={})
            quantiser.quantize_model()
            quantiser.model.topological_sort()
        model = quantiser.model.model
        onnx.helper.set_model_props(model, self._metadata)
        onnx.save(model, str(out))
        return out


def quantise(train: Images, source: Path, out: Path, aim: str) -> list[str]:
    """Write an ONNX file once more, in int8 where the aim is served by it.

    Args:
        train: To calibrate on: 100 images.
        source: The file, in float32.
        out: The file to write. For speed it is not written where no operator gains on this processor.
        aim: ``'speed'``: those operators are quantised that onnxruntime computes faster so on this processor, by
            measurement; ``'size'``: all products.

    Returns:
        Lines on its time.
    """
    size = json.loads(onnx_metadata(source)['size'])
    images = [train.sized(pixels, size)[0][None] for pixels in train.spread(_CALIBRATION_IMAGES)]
    quantiser = Quantiser(source, images)
    lines, other = [], ''
    if aim == 'size':
        quantiser.write(quantiser.products(), out)
        ratio = precision.time_of(out, source, images[0])
        other = '; --int8 speed chooses the operators that gain'
    else:
        found = precision.groups(quantiser.model.graph)
        nodes, ratio, trials = precision.choose(found, lambda some: quantiser.write(some, out), source, images[0])
        lines = precision.table(trials)
        if not nodes:
            out.unlink(missing_ok=True)
            return [*lines, 'int8 is not written: no choice of operators is faster than float32 in onnxruntime on one '
                    f'thread of this {precision.processor()}; --int8 size writes the smallest file']
        quantiser.write(nodes, out)
    return [*lines, f"int8 takes {ratio:.2f} of float32's time in onnxruntime on one thread of this "
            f'{precision.processor()}{other}']


def compared(inferencer: Inferencer, test: Images, files: dict[str, Path]) -> list[str]:
    """Lines on size and accuracy of ONNX files, those that are there.

    Args:
        inferencer: The network's.
        test: To measure on, by the config's own metrics.
        files: By name; a detector's with suppression.
    """
    lines = []
    for name, path in files.items():
        if path.exists():
            metrics = accuracy(inferencer, load(path, 'onnx'), test, json.loads(onnx_metadata(path)['size']))
            shown = ', '.join(f'{key} {value:.4g}' for key, value in metrics.items())
            lines.append(f'{name:<8} {path.stat().st_size:>12,} bytes  {shown}')
    return lines
