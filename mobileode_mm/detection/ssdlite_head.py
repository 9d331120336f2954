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
        share_predictions (bool): Whether all maps, of one width and one number of anchors, share the two last
            convolutions, which hold most of the head's parameters. Defaults to False.
        *args, **kwargs: As for ``mmdet.SSDHead``.

    Raises:
        ValueError: ``in_channels`` and the anchor generator differ in their number of maps, or maps that are to share
            their predictions differ in widths or anchors.
    """

    # Read by BaseDenseHead's post-processing, where None means an ordinary softmax.
    loss_cls = None

    def __init__(self, *args, use_depthwise: bool = True, share_predictions: bool = False, **kwargs):
        self.share_predictions = share_predictions  # the constructor makes the layers
        super().__init__(*args, use_depthwise=use_depthwise, **kwargs)

    def _init_layers(self) -> None:
        if len(self.in_channels) != self.prior_generator.num_levels:
            raise ValueError(
                f'in_channels={tuple(self.in_channels)} names {len(self.in_channels)} maps, but '
                f'anchor_generator has anchors for {self.prior_generator.num_levels}')
        super()._init_layers()
        if self.share_predictions:
            for layers in (self.cls_convs, self.reg_convs):
                shapes = {layer[-1].weight.shape for layer in layers}
                if len(shapes) > 1:
                    raise ValueError(f'share_predictions=True, but the maps have the widths {tuple(self.in_channels)} '
                                     f'and {self.num_base_priors} anchors: give all maps one width (or '
                                     'stacked_convs=1) and the anchor generator equal numbers of ratios')
                for layer in layers:
                    layer[-1] = layers[0][-1]

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
