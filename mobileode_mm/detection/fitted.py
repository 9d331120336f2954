"""A single-stage detector whose widths follow from its backbone."""
from collections.abc import Sequence

from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from ..backbones.deployed import Deployable
from ..backbones.utils import fast_layout, feature_channels, guard_gradients, with_in_channels
from ..errors import InputError
from . import tiling


@MODELS.register_module()
class FittedDetector(Deployable, SingleStageDetector):
    """Single-stage detector of mmdet that takes any backbone without a word about widths in its neck and head.

    ``neck.in_channels`` is read or measured from the backbone, ``bbox_head.in_channels`` is the neck's
    ``out_channels``, where it has them. Both may still be typed; then they must agree.

    Args:
        backbone (dict): Backbone.
        neck (dict): Neck, such as ``SlimPAFPN`` or mmdet's ``FPN``.
        bbox_head (dict): Head with a ``prior_generator``, such as ``RTMDetLiteHead``.
        train_cfg (dict, optional): Handed to the head.
        test_cfg (dict, optional): Handed to the head. Its ``tile=dict(size=320, overlap=64)``, in pixels of the
            prepared image, makes the detector predict on larger images tile by tile; ``tile.max_per_img``, default
            1000, is the number of boxes that are kept of a whole image.
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
        guard_gradients(self.backbone)
        neck = with_in_channels('neck', neck, feature_channels(self.backbone), self.backbone)
        self.neck = MODELS.build(neck)
        if hasattr(self.neck, 'out_channels'):
            bbox_head = with_in_channels('bbox_head', bbox_head, self.neck.out_channels, self.neck)
        self.bbox_head = MODELS.build(dict(bbox_head, train_cfg=train_cfg, test_cfg=test_cfg))
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps of backbone and neck.

        Raises:
            InputError: The backbone's maps do not have the head's strides: ``out_indices`` are wrong.
        """
        features = self.backbone(fast_layout(batch_inputs))
        try:
            maps = self.neck(features)
        except (RuntimeError, ValueError):  # of maps that do not go together, or are too small
            self._check_strides(features, features, batch_inputs.shape[2:])
            raise
        # Those that a neck adds may be of any size.
        self._check_strides(maps[:len(features)], features, batch_inputs.shape[2:])
        return maps

    def _check_strides(self, maps: Sequence[Tensor], features: Sequence[Tensor], size: Sequence[int]) -> None:
        """InputError where maps, of the backbone or made of its ``features``, do not have the head's strides."""
        height, width = size
        strides = self.bbox_head.prior_generator.strides[:len(features)]
        # A side may be rounded up or down, but not by a whole position.
        if len(maps) != len(strides) or any(
                abs(height / down - x.shape[2]) >= 1 or abs(width / across - x.shape[3]) >= 1
                for x, (across, down) in zip(maps, strides)):
            raise InputError(
                f'{type(self.backbone).__name__} gives maps of {[tuple(x.shape[2:]) for x in features]} for an image '
                f'of {(height, width)}, but the head reads the strides {strides}. Set model.backbone.out_indices to '
                'the stages of these strides.')

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Boxes as in ``SingleStageDetector``, found tile by tile where ``test_cfg.tile`` says so."""
        tile = (self.test_cfg or {}).get('tile')
        if tile is None:
            return super().predict(batch_inputs, batch_data_samples, rescale)
        for image, sample in zip(batch_inputs, batch_data_samples):
            height, width = sample.img_shape
            sample.pred_instances = self._predict_tiles(image[:, :height, :width], **tile)
            if rescale:
                scale = sample.pred_instances.bboxes.new_tensor(sample.scale_factor).repeat(2)
                sample.pred_instances.bboxes = sample.pred_instances.bboxes / scale
        return batch_data_samples

    def _predict_tiles(self, image: Tensor, size: int, overlap: int,
                       max_per_img: int = tiling.MOST_BOXES) -> InstanceData:
        """What is found in an image (3, H, W), in its pixels."""
        corners = tiling.windows(tuple(image.shape[1:]), size, overlap)
        metas = [dict(img_shape=(size, size))]
        found = []
        for batch in tiling.cut(image, corners, size):
            maps = self.bbox_head(self.extract_feat(batch))
            found += self.bbox_head.predict_by_feat(*maps, batch_img_metas=metas * len(batch), rescale=False)
        return tiling.merge(found, corners, tuple(image.shape[1:]), size, overlap, self.test_cfg.nms, max_per_img)
