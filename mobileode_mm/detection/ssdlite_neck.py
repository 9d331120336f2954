"""From the backbone's two feature maps to the six maps SSDLite detects on."""
from collections.abc import Sequence

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class SSDLiteNeck(BaseModule):
    """Projections of the backbone's maps, separable extra layers, and one pooled map.

    The first ``len(in_channels)`` maps are the backbone's, each projected by a 1x1 convolution. Every further
    map halves the one before it by a separable 3x3 convolution of stride 2 (depthwise, norm; pointwise, norm,
    activation), except the last, which is the mean of the map before it over all positions, projected by a
    1x1 convolution. At 320 px, with a backbone's strides 16 and 32 and the default widths, the maps have the
    strides 16, 32, 64, 128 and 256 and the sides 20, 10, 5, 3, 2 and 1 of the released SSD setting.

    The pooled map has one value for each image and channel. Batch statistics over it would be statistics of
    the images of a batch alone, and undefined for one image, so its projection has a bias instead of a norm.
    The stride-256 map is 1x1 too for inputs of 256 px and less, and keeps its norm.

    Args:
        in_channels (Sequence[int]): Widths of the backbone's maps. ``SSDLite`` fills this in.
        out_channels (Sequence[int]): Widths of the maps returned, more of them than of ``in_channels``.
        conv_cfg (dict, optional): Convolution layer. Defaults to None, an ordinary convolution.
        norm_cfg (dict, optional): Norm layer of all maps but the pooled one. Defaults to ``dict(type='BN')``.
        act_cfg (dict, optional): Activation. Defaults to ``dict(type='SiLU')``.
        init_cfg (dict | list[dict], optional): Initialisation. Defaults to Xavier's, uniform.

    Raises:
        ValueError: ``out_channels`` has no more entries than ``in_channels``.
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 out_channels: Sequence[int] = (512, 256, 256, 128, 128, 64),
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = dict(type='BN'),
                 act_cfg: dict | None = dict(type='SiLU'),
                 init_cfg: dict | list[dict] | None = dict(
                     type='Xavier', layer='Conv2d', distribution='uniform')):
        super().__init__(init_cfg=init_cfg)
        count = len(in_channels)
        if len(out_channels) <= count:
            raise ValueError(
                f'out_channels={tuple(out_channels)} needs an entry for each of the {count} maps of '
                f'in_channels={tuple(in_channels)} and at least one more, for the pooled map')
        self.in_channels = tuple(in_channels)
        self.out_channels = tuple(out_channels)

        layer = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.projections = nn.ModuleList(
            ConvModule(before, after, 1, **layer)
            for before, after in zip(self.in_channels, self.out_channels[:count], strict=True))
        self.extra_layers = nn.ModuleList(
            DepthwiseSeparableConvModule(before, after, 3, stride=2, padding=1, dw_act_cfg=None, **layer)
            for before, after in zip(self.out_channels[count - 1:-2], self.out_channels[count:-1],
                                     strict=True))
        self.pooled_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            ConvModule(*self.out_channels[-2:], 1, conv_cfg=conv_cfg, norm_cfg=None, act_cfg=act_cfg))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make the detection maps.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps, (B, in_channels[i], H_i, W_i), finest first.

        Returns:
            tuple[Tensor, ...]: (B, out_channels[i], H_i, W_i), finest first, the last of 1x1.
        """
        maps = [project(x) for project, x in zip(self.projections, inputs, strict=True)]
        for layer in (*self.extra_layers, self.pooled_layer):
            maps.append(layer(maps[-1]))
        return tuple(maps)
