"""MobileNetV1 (arXiv:1704.04861), the yardstick; V2 and V3 exist in the toolboxes."""

from collections.abc import Sequence

from mmcv.cnn import DepthwiseSeparableConvModule
from mmengine.registry import MODELS

from .base import StagedBackbone, multiple_of_8


@MODELS.register_module()
class MobileNetV1(StagedBackbone):
    """MobileNetV1 without its classifier.

    Stages 0 to 5 have strides 2, 2, 4, 8, 16, 32 and 32, 64, 128, 256, 512, 1024 channels: the same interface as
    MobileODE, so that one takes the other's place in a config.

    Args:
        widen_factor: Multiplies the widths, rounded to multiples of 8.
        out_indices, frozen_stages, norm_eval, with_cp, strides, dilations, conv_cfg, norm_cfg, act_cfg, init_cfg: As in
            :class:`MobileODEV1`; a stage's first block takes the dilation of the stage before.

    Raises:
        ValueError: An argument is out of its range; the message names it, its value and the nearest legal ones.
    """

    # width, blocks, stride
    arch_settings = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))

    def __init__(self,
                 widen_factor: float = 1.0,
                 out_indices: int | Sequence[int] = (5, ),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 strides: Sequence[int] | None = None,
                 dilations: Sequence[int] | None = None,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict = dict(type='BN', requires_grad=True),
                 act_cfg: dict = dict(type='ReLU'),
                 init_cfg: dict | list | None = None):
        super().__init__(out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        if widen_factor <= 0:
            raise ValueError(f'widen_factor={widen_factor} must be positive; the usual ones: 0.25, 0.5, 0.75, 1.0')
        strides, dilations = self.stage_layout(strides, dilations)
        conv = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)

        def make_stage(index, in_width, stride, entry_dilation, dilation):
            width, blocks = multiple_of_8(self.arch_settings[index][0] * widen_factor), []
            for number in range(self.arch_settings[index][1]):
                first = number == 0
                here = entry_dilation if first else dilation
                blocks.append(DepthwiseSeparableConvModule(in_width if first else width, width, 3,
                                                           stride=stride if first else 1, padding=here, dilation=here,
                                                           **conv))
            return blocks, width

        self.build(multiple_of_8(32 * widen_factor), strides, dilations, make_stage, None, **conv)
