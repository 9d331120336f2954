"""RTMDet's head of separable convolutions."""
from mmdet.models.dense_heads import RTMDetSepBNHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList
from torch import Tensor


@MODELS.register_module()
class RTMDetLiteHead(RTMDetSepBNHead):
    """mmdet's ``RTMDetSepBNHead`` whose 3x3 convolutions are separable, and each map's its own.

    Boxes are decoded in float32: the stock head makes its points in the scores' type, and from 256 px on bfloat16 knows
    every second pixel only.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Width of the maps. ``FittedDetector`` fills this in.
        use_depthwise (bool): Whether the convolutions are separable. Defaults to True.
        share_conv (bool): Whether all maps share their convolutions, which mmdet has for convolutions that are not
            separable. Defaults to False.
        with_objectness (bool): As for ``mmdet.RTMDetHead``. Defaults to False.
        *args, **kwargs: As for ``mmdet.RTMDetSepBNHead``.

    Raises:
        ValueError: Separable convolutions are to be shared.
    """

    def __init__(self, num_classes: int, in_channels: int, *args, use_depthwise: bool = True, share_conv: bool = False,
                 with_objectness: bool = False, **kwargs):
        if use_depthwise and share_conv:
            raise ValueError('share_conv=True, but mmdet shares convolutions that are not separable alone: set '
                             'use_depthwise=False too')
        super().__init__(num_classes, in_channels, *args, use_depthwise=use_depthwise, share_conv=share_conv,
                         with_objectness=with_objectness, **kwargs)

    def predict_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args, **kwargs) -> InstanceList:
        """Boxes as in ``BaseDenseHead``, computed in float32."""
        return super().predict_by_feat([score.float() for score in cls_scores], [pred.float() for pred in bbox_preds],
                                       *args, **kwargs)
