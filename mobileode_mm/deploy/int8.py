"""Static post-training quantisation of ONNX files, and what it costs in accuracy."""

import json
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..inference.inferencer import Inferencer
from .accuracy import accuracy, sized
from .formats import load, onnx_metadata, quiet
from .inputs import Images

_CALIBRATION_IMAGES = 100
#: What gains by eight bits: the products of convolutions, solvers and the last layer.
_OPERATORS = ['Conv', 'MatMul', 'Gemm']


class _Reader(CalibrationDataReader):
    """Images of the training data, one at a time."""

    def __init__(self, images: Images, size: tuple[int, int] | None):
        self._images = ({'image': sized(pixels, size)[None]} for pixels in images.spread(_CALIBRATION_IMAGES))

    def get_next(self):
        return next(self._images, None)


def quantise(inferencer: Inferencer, train: Images, test: Images, source: Path, out: Path) -> list[str]:
    """Write an ONNX file once more, in int8.

    Weights have one scale a channel, activations one scale and zero point a map, calibrated by their least and largest
    values on 100 images of the training data. Metadata are taken over.

    Args:
        inferencer: The network's.
        train: To calibrate on.
        test: To measure on.
        source: The file, in float32; a detector's with suppression.
        out: The file to write.

    Returns:
        Lines on accuracy, by the config's own metrics, and size of both.
    """
    size = json.loads(onnx_metadata(source)['size'])
    reader = _Reader(train, size)
    prepared = source.with_suffix('.prepared.onnx')
    with quiet():
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(str(prepared), str(out), reader, quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=_OPERATORS)
    _copy_metadata(source, out)
    lines = []
    for name, path in (('float32', source), ('int8', out)):
        metrics = accuracy(inferencer, load(path, 'onnx'), test, size, 'test')
        found = ', '.join(f'{key} {value:.4g}' for key, value in metrics.items())
        lines.append(f'{name:<8} {path.stat().st_size:>12,} bytes  {found}')
    return lines


def _copy_metadata(source: Path, out: Path) -> None:
    model = onnx.load(str(out))
    onnx.helper.set_model_props(model, dict(onnx_metadata(source), precision='int8'))
    onnx.save(model, str(out))
