"""The image classifier whose head's width follows from its backbone."""
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor

from ..backbones.deployed import Deployable
from ..backbones.utils import fast_layout, feature_channels, guard_gradients, with_in_channels


@MODELS.register_module()
class FittedClassifier(Deployable, ImageClassifier):
    """``mmpretrain.ImageClassifier`` that takes any backbone without a word about the width of its head.

    ``head.in_channels`` is read or measured from the backbone's last output, which mmpretrain's heads classify.
    It may still be typed; then it must agree. A neck has to leave the width as it is, as ``GlobalAveragePooling``
    does.

    Args:
        backbone (dict): Backbone.
        neck (dict, optional): Neck. Defaults to None.
        head (dict, optional): Head that takes ``in_channels``, such as ``DropoutLinearHead``; None leaves it out, as
            ``mmpretrain.get_model(config, head=None)`` does, and the features are returned. Defaults to None.
        **kwargs: As for ``mmpretrain.ImageClassifier``.

    Raises:
        InputError: A typed width contradicts the backbone.
    """

    def __init__(self, backbone: dict, neck: dict | None = None, head: dict | None = None, **kwargs):
        backbone = MODELS.build(backbone)
        guard_gradients(backbone)
        if head is not None:
            head = with_in_channels('head', head, feature_channels(backbone)[-1], backbone)
        super().__init__(backbone, neck, head, **kwargs)

    def extract_feat(self, inputs: Tensor, stage: str = 'neck') -> Tensor | tuple[Tensor, ...]:
        """As in ``ImageClassifier``."""
        return super().extract_feat(fast_layout(inputs), stage)
