"""The SSDLite detector, whose widths follow from its backbone."""
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from ..backbones.deployed import Deployable
from ..backbones.sync_norms import trains_on_one_image
from ..backbones.utils import fast_layout, feature_channels, with_in_channels
from ..errors import InputError


@MODELS.register_module()
class SSDLite(Deployable, SingleStageDetector):
    """Single-stage detector that takes any backbone without a word about widths in its neck and head.

    ``neck.in_channels`` is read or measured from the backbone, ``bbox_head.in_channels`` is the neck's
    ``out_channels``. Both may still be typed; then they must agree.

    Args:
        backbone (dict): Backbone.
        neck (dict): Neck whose module has ``out_channels``, such as ``SSDLiteNeck``.
        bbox_head (dict): Head, such as ``SSDLiteHead``.
        train_cfg (dict, optional): Handed to the head.
        test_cfg (dict, optional): Handed to the head.
        data_preprocessor (dict, optional): Data preprocessor.
        init_cfg (dict | list[dict], optional): Initialisation.

    Raises:
        InputError: A typed width contradicts the module before it.
    """

    def __init__(self,
                 backbone: dict,
                 neck: dict,
                 bbox_head: dict,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | list[dict] | None = None):
        # SingleStageDetector builds all three parts at once; here each needs the one before it.
        super(SingleStageDetector, self).__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        neck = with_in_channels('neck', neck, feature_channels(self.backbone), self.backbone)
        self.neck = MODELS.build(neck)
        bbox_head = with_in_channels('bbox_head', bbox_head, self.neck.out_channels, self.neck)
        self.bbox_head = MODELS.build(dict(bbox_head, train_cfg=train_cfg, test_cfg=test_cfg))
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps of backbone and neck.

        Raises:
            InputError: The backbone's maps do not have the anchors' strides: ``out_indices`` are wrong.
        """
        features = self.backbone(fast_layout(batch_inputs))
        strides = self.bbox_head.prior_generator.strides[:len(features)]
        height, width = batch_inputs.shape[2:]
        for feature, (stride_w, stride_h) in zip(features, strides, strict=True):
            # A backbone may round a side up or down, but not by a whole position.
            rows, columns = feature.shape[2:]
            if abs(height / stride_h - rows) >= 1 or abs(width / stride_w - columns) >= 1:
                raise InputError(
                    f'{type(self.backbone).__name__} gives maps of {[tuple(x.shape[2:]) for x in features]} '
                    f'for an image of {(height, width)}, but the anchors have the strides {strides}. Set '
                    'model.backbone.out_indices to the stages of these strides.')
        return self.neck(features)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict:
        """Losses as in ``SingleStageDetector``.

        Raises:
            InputError: One image is all there is to take batch statistics of a 1x1 map from.
        """
        if trains_on_one_image(self.bbox_head, len(batch_inputs)):
            raise InputError(
                'SSDLite cannot train on batches of one image: on its 1x1 map, batch norm needs two values '
                'or more. Set train_dataloader.batch_size to 2 or more (and keep drop_last=True).')
        return super().loss(batch_inputs, batch_data_samples)
