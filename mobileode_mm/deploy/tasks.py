"""Whole tasks as one module each: from the pixels of images to boxes, masks or classes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .heads import Found, reader_of
from .nms import suppress


def padded_size(preprocessor: nn.Module, size: Sequence[int]) -> tuple[int, ...]:
    """Height and width of images behind a data preprocessor: multiples of its ``pad_size_divisor``."""
    return tuple(side + -side % _divisor(preprocessor) for side in size)


def _divisor(preprocessor: nn.Module) -> int:
    return getattr(preprocessor, 'pad_size_divisor', None) or 1


class Normalise(nn.Module):
    """What the data preprocessor of a toolbox does to a batch, on RGB pixels: normalisation, and padding at the right
    and below to multiples of its ``pad_size_divisor``.

    Args:
        preprocessor: Data preprocessor of mmdet, mmseg or mmpretrain.
        takes_rgb: Whether it is given RGB, not BGR.

    Raises:
        InputError: It changes images otherwise.
    """

    def __init__(self, preprocessor: nn.Module, takes_rgb: bool):
        super().__init__()
        self.divisor, self.pad_value = _divisor(preprocessor), getattr(preprocessor, 'pad_value', 0)
        if getattr(preprocessor, 'test_cfg', None):  # mmseg's
            raise InputError('the data preprocessor pads images by its test_cfg, which the exported network would not '
                             'do; set it to None')
        switches = ('_channel_conversion', 'channel_conversion', 'to_rgb')  # mmdet's, mmseg's, mmpretrain's
        swaps = any(getattr(preprocessor, name, False) for name in switches)
        normalises = preprocessor._enable_normalize
        #: Whether the network itself reads BGR.
        self.reverse = takes_rgb == swaps
        for name, neutral in (('mean', 0.), ('std', 1.)):
            value = getattr(preprocessor, name) if normalises else torch.full((3, 1, 1), neutral)
            self.register_buffer(name, value.detach().clone().view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, 3), uint8, RGB, to the network's input (B, 3, H, W) of the padded size."""
        x = image.permute(0, 3, 1, 2).to(self.mean.dtype)
        if self.reverse:
            x = torch.cat(x.split(1, 1)[::-1], 1)  # ncnn has no layer for indices
        x = (x - self.mean) / self.std
        if self.divisor > 1:
            height, width = x.shape[2:]
            x = F.pad(x, (0, -width % self.divisor, 0, -height % self.divisor), value=self.pad_value)
        return x

    def in_rgb(self) -> dict[str, list[float]]:
        """Mean and deviation of R, G and B, for people."""
        values = {name: getattr(self, name).flatten().tolist() for name in ('mean', 'std')}
        return {name: value[::-1] if self.reverse else value for name, value in values.items()}


class Task(nn.Module):
    """A network with its pre- and post-processing.

    Args:
        model: The toolbox's model, in eval mode.
        takes_rgb: Whether the model's test pipeline gives RGB.

    Attributes:
        outputs: Names of the outputs.
    """

    outputs: tuple[str, ...]

    def __init__(self, model: nn.Module, takes_rgb: bool):
        super().__init__()
        self.normalise = Normalise(model.data_preprocessor, takes_rgb)
        self.model = model
        self.takes_rgb = takes_rgb

    def features(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of the backbone and, where there is one, of the neck."""
        maps = self.model.backbone(self.normalise(image))
        neck = getattr(self.model, 'neck', None)
        return maps if neck is None else neck(maps)


class Classifier(Task):
    """Scores of the classes, by softmax."""

    outputs = ('scores', )

    def __init__(self, model: nn.Module, takes_rgb: bool):
        super().__init__(model, takes_rgb)
        from mmpretrain.models.heads import MultiLabelClsHead
        if isinstance(model.head, MultiLabelClsHead):
            raise InputError('only classifiers that give an image one class, by softmax, can be exported; a '
                             f'{type(model.head).__name__} gives it several')

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """(B, H, W, 3), uint8, RGB, to scores (B, C)."""
        return (self.model.head(self.features(image)).float().softmax(1), )


class Segmentor(Task):
    """The likeliest class of each pixel."""

    outputs = ('mask', )

    def __init__(self, model: nn.Module, takes_rgb: bool):
        super().__init__(model, takes_rgb)
        if model.test_cfg.get('mode', 'whole') != 'whole' or model.decode_head.out_channels < 2:
            raise InputError('only segmentors that look at whole images (test_cfg.mode) and separate two classes or '
                             'more by softmax can be exported')

    def logits(self, image: Tensor) -> Tensor:
        """(B, C, H, W) at the images' size."""
        logits = self.model.decode_head(self.features(image))
        return F.interpolate(logits, size=image.shape[1:3], mode='bilinear',
                             align_corners=self.model.decode_head.align_corners)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """(B, H, W, 3), uint8, RGB, to class indices (B, H, W), uint8; int32 where there are more than 256 classes."""
        classes = self.model.decode_head.out_channels
        return (self.logits(image).argmax(1).to(torch.uint8 if classes <= 256 else torch.int32), )


class Detector(Task):
    """Boxes and scores of all anchors or points."""

    outputs = ('boxes', 'scores')

    def __init__(self, model: nn.Module, takes_rgb: bool):
        super().__init__(model, takes_rgb)
        self.read = reader_of(model)

    def found(self, image: Tensor) -> Found:
        """Boxes in pixels of the image, and scores of each map's priors."""
        return self.read(self.model.bbox_head(self.features(image)), image.shape[1:3])

    def counts(self, image: Tensor) -> list[int]:
        """How many anchors or points each map has, for who chooses the best of all boxes behind a file.

        Raises:
            InputError: They are chosen by scores without their factors, which such a file does not give.
        """
        _, scores, factors = self.found(image)
        if factors is not None:
            raise InputError(f'the best boxes of a {type(self.model.bbox_head).__name__} are chosen by scores without '
                             'their factors, which a file of all boxes does not give')
        return [level.shape[1] for level in scores]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3), uint8, RGB, to boxes (B, N, 4) and scores (B, N, C).

        Boxes are x1, y1, x2, y2 in pixels of the image, before any suppression.
        """
        boxes, scores, factors = self.found(image)
        all_scores = torch.cat(scores, 1)
        return boxes, all_scores if factors is None else all_scores * torch.cat(factors, 1)


#: Keys of mmcv's suppression beside its threshold, and the values with which it is a plain one.
_PLAIN = dict(type='nms', class_agnostic=False, offset=0, score_threshold=0, max_num=-1)


class Suppression(NamedTuple):
    """How the best of all boxes are chosen: a detector's ``test_cfg``.

    Attributes:
        iou_threshold: Overlap above which the lesser box of a class goes.
        score_threshold: Scores up to this one are none.
        candidates: Scores of a map that are looked at, the best; 0 or less for all.
        least_side: Boxes with a side up to this go, in pixels; less than 0 for none.
        most: Boxes of an image that are kept.
    """
    iou_threshold: float
    score_threshold: float
    candidates: int
    least_side: float
    most: int

    @classmethod
    def of(cls, test_cfg: Mapping) -> 'Suppression':
        """Raises InputError where a detector suppresses otherwise."""
        nms = test_cfg.get('nms')
        others = {key: value for key, value in (nms or {}).items() if key not in _PLAIN or value != _PLAIN[key]}
        others.pop('split_thr', None)  # saves memory, and changes no box
        # mmcv takes the name of its first versions too.
        threshold = others.pop('iou_threshold', others.pop('iou_thr', None))
        if threshold is None or others:
            raise InputError(f'test_cfg.nms={nms}: only plain suppression in each class can be exported, as in '
                             "nms=dict(type='nms', iou_threshold=0.5); leave --with-nms out")
        if 'max_per_img' not in test_cfg:  # YOLOX gives what is left
            raise InputError('a file gives a fixed number of boxes, and test_cfg has no max_per_img; give it, as in '
                             '--cfg-new model.test_cfg.max_per_img=300, or leave --with-nms out')
        return cls(float(threshold), float(test_cfg.get('score_thr', 0)), test_cfg.get('nms_pre', -1),
                   test_cfg.get('min_bbox_size', -1), test_cfg['max_per_img'])


def best_boxes(found: Found, how: Suppression) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes, as :class:`SuppressingDetector` gives them."""
    boxes, threshold = found.boxes, how.score_threshold
    scores = torch.cat([_best(level, how.candidates) for level in found.scores], 1)
    if found.factors is not None:
        scores = torch.where(scores > threshold, scores, 0) * torch.cat(found.factors, 1)
        threshold = 0.
    if how.least_side >= 0:
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = scores * (sides > how.least_side).all(-1, keepdim=True)
    kept = suppress(boxes, scores.transpose(1, 2).contiguous(), how.iou_threshold, threshold)
    classes = kept.shape[1]
    scores, found = _top(kept.transpose(1, 2).flatten(1), how.most)
    labels = torch.where(scores > 0, found % classes, -1)
    places = (found // classes).clamp(max=boxes.shape[1] - 1)
    return boxes.gather(1, places[..., None].expand(-1, -1, 4)), scores, labels


class SuppressingDetector(Detector):
    """The best boxes after non-maximum suppression in each class, as the model's ``test_cfg`` has it."""

    outputs = ('boxes', 'scores', 'labels')

    def __init__(self, model: nn.Module, takes_rgb: bool):
        super().__init__(model, takes_rgb)
        self.suppression = Suppression.of(model.test_cfg)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, H, W, 3), uint8, RGB, to boxes (B, K, 4), scores (B, K) and labels (B, K), the best first.

        K is ``max_per_img``. Where there are fewer, the rest has score 0 and label −1.
        """
        return best_boxes(self.found(image), self.suppression)


def _best(scores: Tensor, candidates: int) -> Tensor:
    """Scores (B, N, C) of a map with all but the best ``candidates`` set to zero."""
    if candidates <= 0:
        return scores
    least = _top(scores.flatten(1), candidates).values[:, -1]
    return torch.where(scores >= least[:, None, None], scores, 0)


def _top(values: Tensor, count: int):
    """The largest ``count`` of values (B, M), none of them negative; zeros stand in where there are fewer."""
    known = isinstance(values.shape[1], int)  # and not a symbol of an export
    return (values if known and values.shape[1] >= count else F.pad(values, (0, count))).topk(count)


#: By task of a config, what can become of its network.
TASKS = dict(detection=(Detector, SuppressingDetector), segmentation=(Segmentor, ), classification=(Classifier, ))
