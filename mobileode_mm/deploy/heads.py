"""What detectors' heads give, as boxes and scores: mmdet's post-processing up to the suppression, on batches."""
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError


class HeadReader(nn.Module, ABC):
    """Boxes and scores from what a head gives.

    Args:
        head: Head of mmdet with a ``prior_generator``.
    """

    def __init__(self, head: nn.Module):
        super().__init__()
        self.priors = head.prior_generator
        self.channels = head.cls_out_channels

    def forward(self, logits: Sequence[Tensor], values: Sequence[Tensor],
                size: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
            logits: Of each map, (B, A·channels, H_i, W_i).
            values: What the boxes are made of, (B, A·4, H_i, W_i).
            size: Height and width of the images, to which boxes are cut.

        Returns:
            Boxes (B, N, 4), x1, y1, x2, y2 in pixels, of all maps, and scores (B, N_i, C) of each.
        """
        batch = logits[0].shape[0]  # len() would make an export fix it
        priors = torch.cat(self.priors.grid_priors([x.shape[2:] for x in logits], device=logits[0].device))
        values = torch.cat([x.permute(0, 2, 3, 1).reshape(batch, -1, 4) for x in values], 1).float()
        low, high = self.corners(priors, values)
        height, width = size
        (x1, y1), (x2, y2) = low.unbind(-1), high.unbind(-1)
        boxes = torch.stack([x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], -1)
        return boxes, [self.scores(x.permute(0, 2, 3, 1).reshape(batch, -1, self.channels).float()) for x in logits]

    @abstractmethod
    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Priors and values (B, N, 4) to the upper left and the lower right corners, (B, N, 2) each."""

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """(B, N, channels) to (B, N, C)."""


class AnchorDeltas(HeadReader):
    """Of an SSD head: deltas of anchors (N, 4), and a softmax with the background in the last place."""

    def __init__(self, head: nn.Module):
        super().__init__(head)
        # (1, 4), as the coder has them.
        self.register_buffer('mean', torch.tensor([head.bbox_coder.means]), persistent=False)
        self.register_buffer('std', torch.tensor([head.bbox_coder.stds]), persistent=False)

    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """mmdet's ``delta2bbox`` on a batch, without its in-place writes."""
        deltas = values * self.std + self.mean
        corner, other = priors[:, :2], priors[:, 2:]
        centre = (corner + other) * 0.5 + (other - corner) * deltas[..., :2]
        limit = 4.135166556742356  # |ln(16/1000)|
        half = (other - corner) * deltas[..., 2:].clamp(-limit, limit).exp() * 0.5
        return centre - half, centre + half

    def scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)[..., :-1]


class PointDistances(HeadReader):
    """Of an RTMDet head: distances from points (N, 2) to the four sides, in pixels, and a sigmoid for each class."""

    def corners(self, priors: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """mmdet's ``distance2bbox`` on a batch."""
        return priors - values[..., :2], priors + values[..., 2:]

    def scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


def reader_of(model: nn.Module) -> HeadReader:
    """What reads a detector's head; InputError where nothing does."""
    from mmdet.models.dense_heads import RTMDetHead, SSDHead
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
    head = getattr(model, 'bbox_head', None)
    coder = type(getattr(head, 'bbox_coder', None))
    if isinstance(head, SSDHead) and coder is DeltaXYWHBBoxCoder:
        return AnchorDeltas(head)
    if isinstance(head, RTMDetHead) and coder is DistancePointBBoxCoder and head.use_sigmoid_cls:
        return PointDistances(head)
    raise InputError(f'{type(model).__name__} with {type(head).__name__} cannot be exported: of detectors, those with '
                     'an SSD or RTMDet head can')
