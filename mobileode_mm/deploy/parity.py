"""Does a file give what the network gives?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .formats import Run
from .tasks import Classifier, Detector, Segmentor, SuppressingDetector, Task

#: Largest differences, as a share of the largest number: roundings of float32, in another order.
_CLOSE = 1e-4
#: Share of pixels or boxes that may come out otherwise, where two scores are equal but for rounding.
_TIES = 0.01


class Row(NamedTuple):
    """One comparison.

    Attributes:
        quantity: What is compared.
        difference: The largest over the images.
        limit: Up to here it is good.
        measure: What the difference is.
    """
    quantity: str
    difference: float
    limit: float
    measure: str

    @property
    def good(self) -> bool:
        return self.difference <= self.limit


def compare(reference: Task, deployed: Task, run: Run, images: Sequence[np.ndarray]) -> list[Row]:
    """Compare a file with the network that it was made from.

    Args:
        reference: The task around the network as it was trained.
        deployed: The same around its deploy form.
        run: The file.
        images: Batches (B, H, W, 3), uint8, RGB.

    Returns:
        Rows: the normalised images, against the toolbox's data preprocessor; the maps of backbone and neck, deploy
        form against network; then each output, file against network. A detector's suppressed boxes and a classifier's
        scores are compared with those of the toolbox's own prediction.
    """
    rows = {}
    for pixels in images:
        image = torch.from_numpy(pixels)
        with torch.no_grad():
            maps = zip(_flat(deployed.features(image)), _flat(reference.features(image)), strict=True)
            found = [_input(reference, image),
                     Row('features', max(_relative(a.numpy(), b.numpy()) for a, b in maps), _CLOSE, 'of the largest')]
            found += _outputs(reference, image, run(pixels))
        for row in found:
            if row.quantity not in rows or row.difference > rows[row.quantity].difference:
                rows[row.quantity] = row
    return list(rows.values())


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    lines = [f'{"compared":<10} {"difference":>11} {"limit":>8}']
    lines += [f'{row.quantity:<10} {row.difference:>11.2e} {row.limit:>8.0e}  {row.measure}'
              f'{"" if row.good else "   TOO LARGE"}' for row in rows]
    return '\n'.join(lines)


def _preprocessed(reference: Task, image: Tensor) -> Tensor:
    """What the toolbox makes of RGB pixels (B, H, W, 3): (B, 3, H, W)."""
    planes = image.permute(0, 3, 1, 2)
    planes = planes if reference.takes_rgb else planes.flip(1)
    return reference.model.data_preprocessor(dict(inputs=list(planes)))['inputs']


def _input(reference: Task, image: Tensor) -> Row:
    difference = _relative(reference.normalise(image).numpy(), _preprocessed(reference, image).numpy())
    return Row('input', difference, _CLOSE, 'of the largest')


def _outputs(reference: Task, image: Tensor, outputs: list[np.ndarray]) -> list[Row]:
    if isinstance(reference, SuppressingDetector):
        return _detections(reference, image, outputs)
    if isinstance(reference, Classifier):
        return _classes(reference, image, outputs[0])
    wanted = [output.numpy() for output in reference(image)]
    if isinstance(reference, Detector):
        return [Row(name, _relative(a, b), _CLOSE, 'of the largest')
                for name, a, b in zip(reference.outputs, outputs, wanted)]
    assert isinstance(reference, Segmentor)
    return [Row('mask', float((outputs[0] != wanted[0]).mean()), _TIES, 'of the pixels')]


def _classes(reference: Classifier, image: Tensor, scores: np.ndarray) -> list[Row]:
    samples = reference.model.predict(_preprocessed(reference, image))
    wanted = np.stack([sample.pred_score.numpy() for sample in samples])
    # Of two classes that score alike either may come first.
    lost = wanted.max(1) - np.take_along_axis(wanted, scores.argmax(1)[:, None], 1)[:, 0]
    return [Row('scores', _relative(scores, wanted), _CLOSE, 'of the largest'),
            Row('class', float((lost > _CLOSE).mean()), 0, 'of the images')]


def _detections(reference: SuppressingDetector, image: Tensor, outputs: list[np.ndarray]) -> list[Row]:
    """Of the toolbox's boxes, those that the file does not have, and how far the others are off."""
    total, missed, box_error, score_error = 0, 0, 0., 0.
    size = tuple(image.shape[1:3])
    for one, boxes, scores, labels in zip(image, *outputs):
        # YOLOX gives more than a file does, the best first.
        expected = _predicted(reference, one[None], size)[:len(scores)]
        total += len(expected.bboxes)
        for box, score, label in zip(expected.bboxes.numpy(), expected.scores.numpy(), expected.labels.numpy()):
            same = (labels == label) & (scores > 0)
            errors = np.abs(boxes[same] - box).max(1, initial=0) / max(size)
            if not len(errors) or errors.min() > _CLOSE:
                missed += 1
                continue
            box_error = max(box_error, float(errors.min()))
            score_error = max(score_error, float(np.abs(scores[same][errors.argmin()] - score)))
        total += max(0, int((scores > 0).sum()) - len(expected.bboxes))
        missed += max(0, int((scores > 0).sum()) - len(expected.bboxes))
    return [Row('boxes', box_error, _CLOSE, 'of the longer side'), Row('scores', score_error, _CLOSE, ''),
            Row('not found', missed / max(total, 1), _TIES, "of the toolbox's boxes")]


def _predicted(reference: Task, image: Tensor, size: tuple[int, int]):
    from mmdet.structures import DetDataSample
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.)))
    return reference.model.predict(_preprocessed(reference, image), [sample], rescale=False)[0].pred_instances


def _relative(output: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(output - wanted).max() / max(np.abs(wanted).max(), 1e-12))


def _flat(maps) -> list[Tensor]:
    return [maps] if isinstance(maps, Tensor) else list(maps)
