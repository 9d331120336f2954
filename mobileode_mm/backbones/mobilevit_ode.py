"""MobileViT-ODE: the hybrid of MobileODE's residual blocks and a MobileViT block (arXiv:2110.02178)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, build_activation_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from .base import DEFAULT_INIT, multiple_of_8
from .mobileode import MobileODE

#: Height and width of the patches whose pixels of one place attend to each other.
PATCH = 2


class TransformerLayer(BaseModule):
    """Layer norm, attention, sum; layer norm, two linear layers with an activation between them, sum.

    Args:
        channels: Width, a multiple of ``num_heads``.
        num_heads: Of the attention.
        hidden_channels: Width between the two linear layers.
        dropout: After the attention and after the second linear layer.
        act_cfg: Activation.
    """

    def __init__(self, channels: int, num_heads: int, hidden_channels: int, dropout: float, act_cfg: dict):
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, hidden_channels)
        self.act = build_activation_layer(act_cfg)
        self.reduce = nn.Linear(hidden_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.dropout(self.reduce(self.act(self.expand(self.norm2(x)))))

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head attention of (B, N, C) to itself."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        found = F.scaled_dot_product_attention(query, key, value)
        # Not transposed: where heads and patches are as many, OpenVINO (2026.4) takes that for a transpose of nothing.
        return self.project(torch.cat(found.unbind(1), -1))


class MobileViTBlock(BaseModule):
    """Local 3×3 convolution, transformer over the patches, fusion with the input (arXiv:2110.02178, section 3.1).

    Each pixel attends to those at its place in the other patches. A map whose sides are no multiples of the patch is
    resized bilinearly for the transformer and back after it, as released.

    Args:
        channels: Of input and output.
        transformer_channels: Width of the transformer; its inner width is twice that.
        num_layers, num_heads, dropout: Of the transformer.
        dilation: Of both 3×3 convolutions.
        conv_cfg, norm_cfg, act_cfg: As in ConvModule; ``act_cfg`` is the transformer's activation too.
    """

    def __init__(self, channels: int, transformer_channels: int, num_layers: int = 3, num_heads: int = 4,
                 dropout: float = 0.1, dilation: int = 1, conv_cfg: dict | None = None,
                 norm_cfg: dict = dict(type='BN'), act_cfg: dict = dict(type='ReLU')):
        super().__init__()
        conv = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        around = dict(kernel_size=3, padding=dilation, dilation=dilation)
        self.local = ConvModule(channels, channels, **around, **conv)
        self.embed = ConvModule(channels, transformer_channels, 1, bias=False, conv_cfg=conv_cfg, norm_cfg=None,
                                act_cfg=None)
        self.transformer = nn.Sequential(
            *(TransformerLayer(transformer_channels, num_heads, 2 * transformer_channels, dropout, act_cfg)
              for _ in range(num_layers)),
            nn.LayerNorm(transformer_channels))
        self.project = ConvModule(transformer_channels, channels, 1, **conv)
        self.fuse = ConvModule(2 * channels, channels, **around, **conv)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        y = self.embed(self.local(x))
        size = y.shape[2:]
        # Not as −(−side // PATCH): in an ONNX file, division rounds towards zero.
        rows, columns = ((side + PATCH - 1) // PATCH for side in size)
        y = _resized(y, (rows * PATCH, columns * PATCH))
        # (B, C, rows, 2, columns, 2) to a sequence of patches for each place in them, (4 B, rows · columns, C).
        y = y.unflatten(3, (columns, PATCH)).unflatten(2, (rows, PATCH)).permute(0, 3, 5, 2, 4, 1)
        shape = y.shape
        y = self.transformer(y.flatten(3, 4).flatten(0, 2)).view(shape)
        y = y.permute(0, 5, 3, 1, 4, 2).flatten(4, 5).flatten(2, 3)
        return self.fuse(torch.cat([x, self.project(_resized(y, size))], 1))


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) resized bilinearly; as it is where it has that size beyond doubt.

    In an export the sizes may be symbols, which are not compared; to its own size, the resize changes no value.
    """
    known = all(isinstance(side, int) for side in (*x.shape[2:], *size))
    if known and tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=False)


@MODELS.register_module()
class MobileViTODE(MobileODE):
    """MobileViT-ODE, "small": the released hybrid (2,700,600 parameters with a linear layer of 10 classes at 256 px).

    Stages 0 to 5 have the strides 2, 2, 4, 8, 16, 32 and, at ``widen_factor`` 1, 16, 64, 144, 256, 576, 160 channels;
    stages 2 to 4 mix their channels by solvers of many steps, stage 5 by a MobileViT block. Stage 6 is a 1×1
    convolution to 640 channels: classifiers read it, detectors and segmentors stages 4 and 5. It is there only where
    ``out_indices`` name it; its stride and dilation are 1 and stand in no argument. As released, the separable blocks
    have their activation after the depthwise convolution, where V1 and V2 have it after the pointwise one. Stage 5's
    map may be of any size: one that is no multiple of the 2×2 patch is resized bilinearly for the transformer.

    Args:
        widen_factor: Scales the sides of the square widths; the other widths become multiples of 8.
        num_steps: Steps of each solver: one number, or one for each of stages 2 to 4.
        out_indices: Stages that are returned; 0 is the stem, 6 the closing convolution.
        dropout: In the transformer.
        init_cfg: MMEngine's; default Kaiming for convolutions and, as in vision transformers, a truncated normal of
            0.02 for linear layers. The solvers keep the release's initial values.
        input_size, solver_backend: As for :class:`MobileODEV1`.
        **kwargs: As for :class:`MobileODEV1`: ``act_cfg`` serves the MobileViT block too, and with ``dilations`` both
            of its 3×3 convolutions are dilated.

    Raises:
        ValueError: An argument is out of its range; the message names it, its value and the nearest legal ones.

    Example:
        >>> backbone = MobileViTODE(out_indices=(4, 5, 6))
        >>> backbone.out_channels, backbone.strides
        ((576, 160, 640), (16, 32, 32))
    """

    # The last row's width is no square: it stands below.
    arch_settings = ((8, 0, 1), (12, 1, 2), (16, 1, 2), (24, 5, 2), (0, 0, 2))
    default_expand_ratio = 1
    stem_channels = 16
    vit_channels = 160
    entry_ends_active = False
    has_closing_stage, closing_channels = True, 640

    def __init__(self, widen_factor: float = 1.0, num_steps: int | Sequence[int] = (60, 30, 20),
                 out_indices: int | Sequence[int] = (6, ), dropout: float = 0.1, input_size: int | Sequence[int] = 256,
                 solver_backend: str = 'auto', init_cfg: dict | list | None = None, **kwargs: Any):
        if init_cfg is None:
            init_cfg = [*DEFAULT_INIT, dict(type='TruncNormal', layer=['Linear'], std=0.02)]
        self.dropout = dropout  # the constructor makes the blocks
        super().__init__(widen_factor, num_steps, out_indices=out_indices, input_size=input_size,
                         solver_backend=solver_backend, init_cfg=init_cfg, **kwargs)

    def stage_width(self, index: int, sides: Sequence[int], widen_factor: float) -> int:
        if index == len(self.arch_settings) - 1:
            return multiple_of_8(self.vit_channels * widen_factor)
        return super().stage_width(index, sides, widen_factor)

    def blocks_without_solver(self, index: int, width: int, dilation: int, **conv: Any) -> list[nn.Module]:
        if index != len(self.arch_settings) - 1:
            return []
        return [MobileViTBlock(width, width * 3 // 2, dropout=self.dropout, dilation=dilation, **conv)]
