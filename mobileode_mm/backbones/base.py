"""What the staged backbones share: outputs, freezing, norm_eval, checkpointing."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral

import torch.utils.checkpoint as cp
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.ode import PositionNorm

from .deployed import Deployable
from .utils import fast_layout

#: ``make_stage(index, in_width, stride, entry_dilation, dilation)`` gives a stage's blocks and its width.
MakeStage = Callable[[int, int, int, int, int], tuple[list[nn.Module], int]]

DEFAULT_INIT = (
    dict(type='Kaiming', layer=['Conv2d']),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
)


class StagedBackbone(Deployable, BaseModule):
    """A chain of stages: stage 0 is the stem, stages 1 to ``num_stages`` follow.

    Subclasses hold an ``arch_settings`` table of one row a stage, its stride last, and call :meth:`build`. A network
    that closes with a 1×1 convolution, as classifiers do, has it as one more stage.

    Args:
        out_indices: Stages whose outputs are returned, in this order; 0 is the stem, negative ones count from the end.
            One number is one stage. Stages behind the last are there, for checkpoints, and do not train.
        frozen_stages: Stages 0 up to this one keep their weights and statistics; -1 freezes none.
        norm_eval: Keep every norm in eval mode while training.
        with_cp: Recompute each stage in the backward pass instead of storing its activations. As with every
            checkpointed batch norm, running statistics then move twice a step.
        init_cfg: Initialisation, MMEngine's.

    Attributes:
        out_channels: Channels of each output, in the order of ``out_indices``.
        strides: Downsampling of each output, in the order of ``out_indices``.

    Raises:
        ValueError: ``out_indices`` or ``frozen_stages`` name a stage that does not exist, or the first names none.
    """

    arch_settings: tuple[tuple[int, ...], ...]
    has_closing_stage = False

    def __init__(self, out_indices: int | Sequence[int], frozen_stages: int, norm_eval: bool, with_cp: bool,
                 init_cfg: dict | list | None):
        super().__init__(list(DEFAULT_INIT) if init_cfg is None else init_cfg)
        num_stages = len(self.arch_settings) + self.has_closing_stage
        total = num_stages + 1
        out_indices = (out_indices, ) if isinstance(out_indices, int) else tuple(out_indices)
        if not out_indices:
            raise ValueError(f'out_indices={out_indices} names no stage; nearest legal: {num_stages}')
        for index in out_indices:
            if not -total <= index < total:
                raise ValueError(f'out_indices={out_indices} names stage {index}; legal: 0 to {num_stages}')
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'frozen_stages={frozen_stages} is out of range; legal: -1 to {num_stages}')
        self.out_indices = tuple(index % total for index in out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self._stages: list[tuple[str, int, int]] = []  # name, width, downsampling from the image

    def build(self, stem_width: int, strides: Sequence[int], dilations: Sequence[int], make_stage: MakeStage,
              closing_width: int | None, **conv: dict | None) -> None:
        """Append the stem and the stages, and freeze what is to be frozen.

        Args:
            stem_width: Channels of the stem, a 3×3 convolution.
            strides, dilations: Of the stem and of each stage (:meth:`stage_layout`).
            make_stage: Makes the blocks of a stage, and says its width.
            closing_width: Channels of the closing 1×1 convolution; None: there is none.
            **conv: ``conv_cfg``, ``norm_cfg`` and ``act_cfg`` of the stem and of the closing convolution.
        """
        stem = ConvModule(3, stem_width, 3, stride=strides[0], padding=dilations[0], dilation=dilations[0], **conv)
        self._add_stage('stem', stem, stem_width, strides[0])
        width = stem_width
        for index, (stride, dilation) in enumerate(zip(strides[1:], dilations[1:])):
            # The first block still reads the grid of the stage before: with its dilation, a stage whose stride is
            # traded for dilation computes the strided network's values, and pretrained weights stay valid.
            blocks, width = make_stage(index, width, stride, dilations[index], dilation)
            self._add_stage(f'stage{index + 1}', nn.Sequential(*blocks), width, stride)
        if closing_width is not None:
            name = f'stage{len(self.arch_settings) + 1}'
            self._add_stage(name, ConvModule(width, closing_width, 1, **conv), closing_width, 1)
        self.freeze()

    def _add_stage(self, name: str, module: nn.Module, width: int, stride: int) -> None:
        before = self._stages[-1][2] if self._stages else 1
        self.add_module(name, module)
        self._stages.append((name, width, before * stride))

    def stage_layout(self, strides: Sequence[int] | None,
                     dilations: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Strides and dilations of the stem and of each stage, the table's own (stem: 2) and 1 where None is given."""
        own = (2, *(row[-1] for row in self.arch_settings))
        return (per_stage('strides', own if strides is None else strides, len(own), 'the stem and each stage'),
                per_stage('dilations', 1 if dilations is None else dilations, len(own), 'the stem and each stage'))

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self._stages[index][1] for index in self.out_indices)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self._stages[index][2] for index in self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to the outputs of ``out_indices``, each (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        x = fast_layout(x)
        outputs = {}
        for index, (name, _, _) in enumerate(self._stages[:max(self.out_indices) + 1]):
            stage = getattr(self, name)
            if self.with_cp and x.requires_grad:
                x = cp.checkpoint(stage, x, use_reentrant=False)
            else:
                x = stage(x)
            outputs[index] = x
        return tuple(outputs[index] for index in self.out_indices)

    def freeze(self) -> None:
        """Switch off gradients and statistics of the frozen stages, and of those behind the last output.

        These are not computed. Processes that train together would wait for their gradients.
        """
        for name, _, _ in self._stages[:self.frozen_stages + 1] + self._stages[max(self.out_indices) + 1:]:
            getattr(self, name).eval().requires_grad_(False)

    def train(self, mode: bool = True):
        super().train(mode)
        self.freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, (_BatchNorm, PositionNorm)):
                    module.eval()
        return self


def per_stage(name: str, value, count: int, stages: str) -> tuple[int, ...]:
    """One number for all, or a sequence of ``count``, as a tuple of ``count``.

    Raises:
        ValueError: The sequence has another length, or an entry is no whole number of 1 and more.
    """
    values = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value, ) * count
    if not all(isinstance(entry, Integral) for entry in values):
        raise ValueError(f'{name}={value!r} is no whole number, nor a list of such')
    if len(values) != count:
        raise ValueError(f'{name}={tuple(values)} has {len(values)} entries; legal: one number, or {count} ({stages})')
    if min(values) < 1:
        raise ValueError(f'{name}={value} has an entry under 1; nearest legal: 1')
    return values


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, 8 or more."""
    return max(8, round(channels / 8) * 8)
