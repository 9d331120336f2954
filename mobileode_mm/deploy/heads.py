"""What detectors' heads give, as boxes and scores: mmdet's post-processing up to the suppression, on batches."""
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError


class Found(NamedTuple):
    """What a head finds on a batch of images.

    Attributes:
        boxes: (B, N, 4), x1, y1, x2, y2 in pixels, of all maps.
        scores: Of each map, (B, N_i, C).
        factors: Of each map, (B, N_i, 1), by which scores are multiplied once the best are chosen; None where a head
            has none.
    """
    boxes: Tensor
    scores: list[Tensor]
    factors: list[Tensor] | None


class HeadReader(nn.Module, ABC):
    """Boxes and scores from what a head gives.

    Args:
        head: Head of mmdet with a ``prior_generator``.
    """

    def __init__(self, head: nn.Module):
        super().__init__()
        self.generator = head.prior_generator
        self.channels, self.is_sigmoid = head.cls_out_channels, head.use_sigmoid_cls
        #: Whether boxes end at the image's border.
        self.clips = getattr(getattr(head, 'bbox_coder', None), 'clip_border', False)

    def forward(self, outputs: Sequence[Sequence[Tensor]], size: Sequence[int]) -> Found:
        """
        Args:
            outputs: Of each map what scores are made of, (B, A·channels, H_i, W_i), what boxes are made of,
                (B, A·4, H_i, W_i), and of some heads what factors are made of, (B, A, H_i, W_i).
            size: Height and width of the images.
        """
        logits, values, *factors = outputs
        values = torch.cat([_rows(x, 4) for x in values], 1)
        boxes = torch.cat(self.corners(torch.cat(self.priors(logits)), values), -1)
        if self.clips:
            height, width = size
            x1, y1, x2, y2 = boxes.unbind(-1)
            boxes = torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1)
        return Found(boxes, [self.scores(_rows(x, self.channels)) for x in logits],
                     [_rows(x, 1).sigmoid() for x in factors[0]] if factors else None)

    def priors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Anchors or points of each map."""
        return self.generator.grid_priors([x.shape[2:] for x in maps], device=maps[0].device)

    @abstractmethod
    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Priors and values (B, N, 4) to the upper left and the lower right corners, (B, N, 2) each."""

    def scores(self, logits: Tensor) -> Tensor:
        """(B, N, channels) to (B, N, C): a sigmoid for each class, or a softmax with the background in the last
        place."""
        return logits.sigmoid() if self.is_sigmoid else logits.softmax(-1)[..., :-1]


class AnchorDeltas(HeadReader):
    """Deltas of anchors (N, 4), as of SSD and RetinaNet."""

    def __init__(self, head: nn.Module):
        super().__init__(head)
        coder = head.bbox_coder
        # (1, 4), as the coder has them.
        self.register_buffer('mean', torch.tensor([coder.means]), persistent=False)
        self.register_buffer('std', torch.tensor([coder.stds]), persistent=False)
        #: How far a centre may move, in pixels; None: anywhere.
        self.reach = coder.ctr_clamp if coder.add_ctr_clamp else None

    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """mmdet's ``delta2bbox`` on a batch, without its in-place writes."""
        deltas = values * self.std + self.mean
        corner, other = priors[:, :2], priors[:, 2:]
        shift, limit = (other - corner) * deltas[..., :2], 4.135166556742356  # |ln(16/1000)|
        if self.reach is None:
            growth = deltas[..., 2:].clamp(-limit, limit)
        else:
            shift, growth = shift.clamp(-self.reach, self.reach), deltas[..., 2:].clamp(max=limit)
        centre = (corner + other) * 0.5 + shift
        half = (other - corner) * growth.exp() * 0.5
        return centre - half, centre + half


class PointDistances(HeadReader):
    """Distances from points (N, 2) to the four sides, in pixels, as of RTMDet and FCOS."""

    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """mmdet's ``distance2bbox`` on a batch."""
        return priors - values[..., :2], priors + values[..., 2:]


class BestClasses(HeadReader):
    """Of YOLOX: centres and sides in strides of the map, and a box has its best class alone, by objectness."""

    def forward(self, outputs: Sequence[Sequence[Tensor]], size: Sequence[int]) -> Found:
        boxes, scores, objectness = super().forward(outputs, size)
        return Found(boxes, [one * other for one, other in zip(scores, objectness, strict=True)], None)

    def priors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return self.generator.grid_priors([x.shape[2:] for x in maps], device=maps[0].device, with_stride=True)

    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        point, stride = priors[:, :2], priors[:, 2:]
        centre, half = values[..., :2] * stride + point, values[..., 2:].exp() * stride * 0.5
        return centre - half, centre + half

    def scores(self, logits: Tensor) -> Tensor:
        scores = logits.sigmoid()
        classes = torch.arange(self.channels, device=logits.device)
        return torch.where(classes == scores.argmax(-1, keepdim=True), scores, 0)


def reader_of(model: nn.Module) -> HeadReader:
    """What reads a detector's head; InputError where nothing does."""
    from mmdet.models.dense_heads import AnchorHead, FCOSHead, RTMDetHead, SSDHead, YOLOXHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
    head = getattr(model, 'bbox_head', None)
    coder = type(getattr(head, 'bbox_coder', None))
    is_plain = all(getattr(type(head), name, None) is getattr(BaseDenseHead, name)
                   for name in ('predict_by_feat', '_predict_by_feat_single', '_bbox_post_process'))
    if coder is DeltaXYWHBBoxCoder and (isinstance(head, SSDHead) or is_plain and isinstance(head, AnchorHead)):
        return AnchorDeltas(head)
    if coder is DistancePointBBoxCoder and (isinstance(head, RTMDetHead) or is_plain and isinstance(head, FCOSHead)):
        return PointDistances(head)
    if isinstance(head, YOLOXHead):
        return BestClasses(head)
    raise InputError(f'{type(model).__name__} with {type(head).__name__} cannot be exported: of detectors, those with '
                     'the head of SSD, RTMDet, YOLOX, RetinaNet, YOLOF, ATSS or FCOS can')


def _rows(x: Tensor, values: int) -> Tensor:
    """(B, A·values, H, W) to (B, A·H·W, values), float32."""
    batch = x.shape[0]  # len() would make an export fix it
    return x.permute(0, 2, 3, 1).reshape(batch, -1, values).float()
