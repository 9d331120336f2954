"""A segmentor whose heads' widths follow from its backbone."""
from collections.abc import Sequence

from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.utils import SampleList
from torch import Tensor, nn

from ..backbones.deployed import Deployable
from ..backbones.sync_norms import trains_on_one_image
from ..backbones.utils import fast_layout, feature_channels, guard_gradients, with_in_channels
from ..errors import InputError


@MODELS.register_module()
class DeepLabV3(Deployable, EncoderDecoder):
    """mmseg's encoder-decoder, without a word about widths in its heads.

    Each head's ``in_channels`` is read or measured from the backbone's maps that its ``in_index`` names. It may
    still be typed; then it must agree. Training, whole and sliding inference are mmseg's.

    Args:
        backbone (dict): Backbone with two outputs or more, dilated to the output stride that is wanted.
        decode_head (dict): Head, such as mmseg's ``ASPPHead``.
        auxiliary_head (dict | list[dict], optional): Heads that help in training only.
        train_cfg (dict, optional): As in mmseg.
        test_cfg (dict, optional): As in mmseg.
        data_preprocessor (dict, optional): Data preprocessor.
        pretrained (str, optional): As in mmseg, whose ``init_model`` sets it to None: checkpoint for a backbone that
            takes one under this name.
        init_cfg (dict | list[dict], optional): Initialisation.

    Raises:
        InputError: A typed width contradicts the backbone, or a head reads a map that the backbone does not give.
    """

    def __init__(self,
                 backbone: dict,
                 decode_head: dict,
                 auxiliary_head: dict | list[dict] | None = None,
                 train_cfg: dict | None = None,
                 test_cfg: dict | None = None,
                 data_preprocessor: dict | None = None,
                 pretrained: str | None = None,
                 init_cfg: dict | list[dict] | None = None):
        super().__init__(backbone, decode_head, auxiliary_head=auxiliary_head, train_cfg=train_cfg, test_cfg=test_cfg,
                         data_preprocessor=data_preprocessor, pretrained=pretrained, init_cfg=init_cfg)
        guard_gradients(self.backbone)

    # mmseg's constructor calls these two when the backbone is there.
    def _init_decode_head(self, decode_head: dict) -> None:
        super()._init_decode_head(self._fitted('decode_head', decode_head))

    def _init_auxiliary_head(self, auxiliary_head: dict | list[dict] | None) -> None:
        if isinstance(auxiliary_head, list):
            auxiliary_head = [self._fitted(f'auxiliary_head[{number}]', head)
                              for number, head in enumerate(auxiliary_head)]
        elif auxiliary_head is not None:
            auxiliary_head = self._fitted('auxiliary_head', auxiliary_head)
        super()._init_auxiliary_head(auxiliary_head)

    def _fitted(self, name: str, head: dict) -> dict:
        """A head's config with the widths of the maps that it reads."""
        channels = feature_channels(self.backbone)
        index = head.get('in_index', -1)
        try:
            widths = channels[index] if isinstance(index, int) else [channels[i] for i in index]
        except IndexError:
            raise InputError(
                f'model.{name}.in_index is {index}, but {type(self.backbone).__name__} gives {len(channels)} maps. Set '
                'model.backbone.out_indices to the stages that the heads read.') from None
        return with_in_channels(name, head, widths, self.backbone)

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps of the backbone."""
        return super().extract_feat(fast_layout(inputs))

    def fold(self, input_size: int | Sequence[int] | None) -> None:
        self.auxiliary_head = None  # it helps in training alone
        super().fold(input_size)

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict:
        """Losses as in ``EncoderDecoder``.

        Raises:
            InputError: One image is all there is to take batch statistics of the pooled branch from.
        """
        pooled = getattr(self.decode_head, 'image_pool', nn.Identity())
        if trains_on_one_image(pooled, len(inputs)):
            raise InputError(
                'DeepLabV3 cannot train on batches of one image: the head pools each to 1x1, where batch norm needs '
                'two values or more. Set train_dataloader.batch_size to 2 or more (and keep drop_last=True).')
        return super().loss(inputs, data_samples)
