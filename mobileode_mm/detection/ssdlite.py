"""The SSDLite detector."""
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from ..backbones.sync_norms import trains_on_one_image
from ..errors import InputError
from .fitted import FittedDetector


@MODELS.register_module()
class SSDLite(FittedDetector):
    """SSDLite on any backbone: a :class:`FittedDetector` with ``SSDLiteNeck`` and ``SSDLiteHead``."""

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
