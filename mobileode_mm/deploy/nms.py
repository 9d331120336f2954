"""Non-maximum suppression as one operator: torchvision's in PyTorch, NonMaxSuppression in ONNX."""

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op('mobileode::suppress', mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float) -> Tensor:
    """Set the scores of boxes to zero that a better box of the same class and image overlaps.

    Args:
        boxes: (B, N, 4), x1, y1, x2, y2.
        scores: (B, C, N).
        iou_threshold: Overlap (intersection over union) above which the lesser box goes.
        score_threshold: Scores up to this one become zero first.

    Returns:
        Tensor: (B, C, N), the scores that are left.
    """
    kept = torch.zeros_like(scores)
    for image in range(len(boxes)):
        for label, of_class in enumerate(scores[image]):
            candidates = (of_class > score_threshold).nonzero()[:, 0]
            found = candidates[nms(boxes[image, candidates], of_class[candidates], iou_threshold)]
            kept[image, label, found] = of_class[found]
    return kept


@suppress.register_fake
def _(boxes, scores, iou_threshold, score_threshold):
    return torch.empty_like(scores)


def onnx_translations() -> dict:
    """For ``torch.onnx.export``'s ``custom_translation_table``."""
    from onnxscript import opset18 as op

    def translate(boxes, scores, iou_threshold: float, score_threshold: float):
        everything = op.Constant(value_ints=[2**31 - 1])
        # One row of image, class and box for each that is left.
        selected = op.NonMaxSuppression(boxes, scores, everything, op.Constant(value_floats=[iou_threshold]),
                                        op.Constant(value_floats=[score_threshold]))
        nothing = op.Mul(scores, op.Constant(value_float=0.0))
        return op.ScatterND(nothing, selected, op.GatherND(scores, selected))

    return {torch.ops.mobileode.suppress.default: translate}
