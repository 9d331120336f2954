"""Static post-training quantisation of ONNX files, and what it costs in accuracy."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from mmengine.evaluator import Evaluator
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..inference.inferencer import Inferencer
from ..runs.checks import config_scope
from .formats import Run, load, onnx_metadata, quiet
from .inputs import Images

_CALIBRATION_IMAGES = 100
#: What gains by eight bits: the products of convolutions, solvers and the last layer.
_OPERATORS = ['Conv', 'MatMul', 'Gemm']


class _Reader(CalibrationDataReader):
    """Images of the training data, one at a time."""

    def __init__(self, images: Images, size: tuple[int, int] | None):
        self._images = ({'image': _sized(pixels, size)[None]} for pixels in images.spread(_CALIBRATION_IMAGES))

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
        metrics = accuracy(inferencer, load(path, 'onnx'), test, size)
        found = ', '.join(f'{key} {value:.4g}' for key, value in metrics.items())
        lines.append(f'{name:<8} {path.stat().st_size:>12,} bytes  {found}')
    return lines


def accuracy(inferencer: Inferencer, run: Run, images: Images, size: tuple[int, int] | None) -> dict[str, float]:
    """Metrics of a file on the test data, by the config's own evaluator.

    Args:
        inferencer: The network's.
        run: The file.
        images: Of the test data.
        size: Height and width that the file takes; None takes any.
    """
    cfg = inferencer.cfg
    with config_scope(cfg), quiet():
        evaluator = Evaluator(cfg.test_evaluator)
        evaluator.dataset_meta = images.dataset.metainfo
        for index in range(len(images)):
            pixels, sample = images[index]
            _FILL[inferencer.task](sample, run(_sized(pixels, size)[None]), pixels.shape)
            evaluator.process(data_samples=[sample], data_batch=None)
        return evaluator.evaluate(len(images))


def _fill_classification(sample, outputs: list[np.ndarray], _) -> None:
    scores = torch.from_numpy(outputs[0][0])
    sample.set_pred_score(scores).set_pred_label(scores.argmax())


def _fill_segmentation(sample, outputs: list[np.ndarray], _) -> None:
    from mmengine.structures import PixelData
    height, width = sample.ori_shape
    mask = cv2.resize(outputs[0][0], (width, height), interpolation=cv2.INTER_NEAREST)
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(mask)[None].long())


def _fill_detection(sample, outputs: list[np.ndarray], shape: tuple[int, ...]) -> None:
    from mmengine.structures import InstanceData
    boxes, scores, labels = (torch.from_numpy(output[0]) for output in outputs)
    kept = scores > 0
    scale = torch.tensor(sample.scale_factor).repeat(2)
    sample.pred_instances = InstanceData(bboxes=boxes[kept] / scale, scores=scores[kept], labels=labels[kept])


_FILL = dict(classification=_fill_classification, segmentation=_fill_segmentation, detection=_fill_detection)


def _sized(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Stretched, where the file takes one size that is not the test pipeline's."""
    return pixels if size is None or pixels.shape[:2] == tuple(size) else cv2.resize(pixels, size[::-1])


def _copy_metadata(source: Path, out: Path) -> None:
    model = onnx.load(str(out))
    onnx.helper.set_model_props(model, dict(onnx_metadata(source), precision='int8'))
    onnx.save(model, str(out))
