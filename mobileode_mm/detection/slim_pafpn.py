"""RTMDet's neck at one small width."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.necks import CSPNeXtPAFPN
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SlimPAFPN(CSPNeXtPAFPN):
    """mmdet's ``CSPNeXtPAFPN`` behind projections of the backbone's maps to its own width.

    mmdet's neck works at the widths that the backbone has, which for 576 channels would be more parameters than the
    backbone's. Maps of any size serve: a coarse one is brought to the size of the finer one, where mmdet's doubles it.

    Args:
        in_channels (Sequence[int]): Widths of the backbone's maps. ``FittedDetector`` fills this in.
        out_channels (int): Width of the neck and of the maps returned. Defaults to 96.
        num_csp_blocks (int): Blocks of each CSP layer. Defaults to 1.
        use_depthwise (bool): Whether the 3x3 convolutions are separable. Defaults to True.
        conv_cfg (dict, optional): Convolution layer. Defaults to None, an ordinary convolution.
        norm_cfg (dict): Norm layer. Defaults to ``dict(type='BN')``.
        act_cfg (dict): Activation. Defaults to ``dict(type='SiLU')``.
        **kwargs: As for ``mmdet.CSPNeXtPAFPN``.
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 out_channels: int = 96,
                 num_csp_blocks: int = 1,
                 use_depthwise: bool = True,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict = dict(type='BN'),
                 act_cfg: dict = dict(type='SiLU'),
                 **kwargs):
        layer = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        super().__init__([out_channels] * len(in_channels), out_channels, num_csp_blocks, use_depthwise, **layer,
                         **kwargs)
        self.in_channels = tuple(in_channels)
        self.projections = nn.ModuleList(ConvModule(width, out_channels, 1, **layer) for width in in_channels)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make the detection maps.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps, (B, in_channels[i], H_i, W_i), finest first.

        Returns:
            tuple[Tensor, ...]: (B, out_channels, H_i, W_i), finest first.
        """
        *finer, coarse = [project(x) for project, x in zip(self.projections, inputs, strict=True)]
        inner = [coarse]
        for reduce, block, x in zip(self.reduce_layers, self.top_down_blocks, finer[::-1], strict=True):
            inner[0] = reduce(inner[0])
            inner.insert(0, block(torch.cat([F.interpolate(inner[0], size=x.shape[2:]), x], 1)))
        maps = [inner[0]]
        for shrink, block, x in zip(self.downsamples, self.bottom_up_blocks, inner[1:], strict=True):
            maps.append(block(torch.cat([shrink(maps[-1]), x], 1)))
        return tuple(conv(x) for conv, x in zip(self.out_convs, maps, strict=True))
