"""mmdet's SSD head, with its faults in prediction and in several processes fixed."""
from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList, reduce_mean
from torch import Tensor


@MODELS.register_module()
class SSDLiteHead(SSDHead):
    """SSD head of depthwise separable convolutions that trains, predicts, and trains in several processes.

    Layers, anchors, matching, loss, post-processing, arguments and state dict are those of ``mmdet.SSDHead``.
    Fixed are

    - prediction: the stock head skips the constructor that sets ``loss_cls``, which its post-processing reads
      (mmdetection issues 11063, 11305, 11780: ``'SSDHead' object has no attribute 'loss_cls'``);
    - prediction in half precision: the stock head makes its anchors in the scores' type, and from 256 px on
      bfloat16 knows every second pixel only; here boxes are decoded in float32;
    - several processes: the stock head divides each process's loss by that process's own number of matched
      anchors, so that the mean gradient is not that of the global batch; here the divisor is the mean over
      the processes, as in mmdet's other heads. In one process the two are the same to the last digit;
    - a wrong number of maps: the stock head drops the surplus silently.

    As in the stock head, an image without objects has no loss of its own: hard negatives are taken 3 to each
    positive, and there are none.

    Args:
        use_depthwise (bool): Whether the convolutions are separable. Defaults to True.
        *args, **kwargs: As for ``mmdet.SSDHead``.

    Raises:
        ValueError: ``in_channels`` and the anchor generator differ in their number of maps.
    """

    # Read by BaseDenseHead's post-processing, where None means an ordinary softmax.
    loss_cls = None

    def __init__(self, *args, use_depthwise: bool = True, **kwargs):
        super().__init__(*args, use_depthwise=use_depthwise, **kwargs)

    def _init_layers(self) -> None:
        if len(self.in_channels) != self.prior_generator.num_levels:
            raise ValueError(
                f'in_channels={tuple(self.in_channels)} names {len(self.in_channels)} maps, but '
                f'anchor_generator has anchors for {self.prior_generator.num_levels}')
        super()._init_layers()

    def get_targets(self, anchor_list: list[list[Tensor]], *args, **kwargs) -> tuple:
        """Targets as in ``AnchorHead``, their ``avg_factor`` averaged over the processes."""
        labels, label_weights, bbox_targets, bbox_weights, avg_factor, *rest = super().get_targets(
            anchor_list, *args, **kwargs)
        avg_factor = reduce_mean(anchor_list[0][0].new_tensor(float(avg_factor))).item()
        return labels, label_weights, bbox_targets, bbox_weights, avg_factor, *rest

    def predict_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args,
                        **kwargs) -> InstanceList:
        """Boxes as in ``BaseDenseHead``, computed in float32."""
        return super().predict_by_feat([score.float() for score in cls_scores],
                                       [pred.float() for pred in bbox_preds], *args, **kwargs)
