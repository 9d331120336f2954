"""What the staged backbones share: outputs, freezing, norm_eval, checkpointing."""

from collections.abc import Sequence

import torch.utils.checkpoint as cp
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.ode import PositionNorm

from .deployed import Deployable, deploy_solvers
from .fused import make_lean

DEFAULT_INIT = (
    dict(type='Kaiming', layer=['Conv2d']),
    dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
)


class StagedBackbone(Deployable, BaseModule):
    """A chain of stages: stage 0 is the stem, stages 1 to ``num_stages`` follow.

    Subclasses hold an ``arch_settings`` table of one row a stage, its stride last, append the stem and the stages with
    :meth:`add_stage`, in order, and then call :meth:`freeze`.

    Args:
        out_indices: Stages whose outputs are returned, in this order; 0 is the stem, negative ones count from the end.
        frozen_stages: Stages 0 up to this one keep their weights and statistics; -1 freezes none.
        norm_eval: Keep every norm in eval mode while training.
        with_cp: Recompute each stage in the backward pass instead of storing its activations. As with every
            checkpointed batch norm, running statistics then move twice a step.
        init_cfg: Initialisation, MMEngine's.

    Attributes:
        out_channels: Channels of each output, in the order of ``out_indices``.
        strides: Downsampling of each output, in the order of ``out_indices``.

    Raises:
        ValueError: ``out_indices`` or ``frozen_stages`` name a stage that does not exist.
    """

    arch_settings: tuple[tuple[int, ...], ...]

    def __init__(self, out_indices: Sequence[int], frozen_stages: int, norm_eval: bool, with_cp: bool,
                 init_cfg: dict | list | None):
        super().__init__(list(DEFAULT_INIT) if init_cfg is None else init_cfg)
        num_stages = len(self.arch_settings)
        total = num_stages + 1
        for index in out_indices:
            if not -total <= index < total:
                raise ValueError(f'out_indices={tuple(out_indices)} names stage {index}; legal: 0 to {num_stages}')
        if not -1 <= frozen_stages <= num_stages:
            raise ValueError(f'frozen_stages={frozen_stages} is out of range; legal: -1 to {num_stages}')
        self.out_indices = tuple(index % total for index in out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self._stages: list[tuple[str, int, int]] = []  # name, width, downsampling from the image

    def add_stage(self, name: str, module: nn.Module, width: int, stride: int) -> None:
        """Append a stage that outputs ``width`` channels and downsamples by ``stride``."""
        before = self._stages[-1][2] if self._stages else 1
        self.add_module(name, make_lean(module))
        self._stages.append((name, width, before * stride))

    def stage_layout(self, strides: Sequence[int] | None,
                     dilations: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Strides and dilations of the stem and of each stage, the table's own (stem: 2) and 1 where None is given."""
        strides = (2, *(row[-1] for row in self.arch_settings)) if strides is None else strides
        dilations = 1 if dilations is None else dilations
        count = len(self.arch_settings) + 1
        return (per_stage('strides', strides, count, 'the stem and each stage'),
                per_stage('dilations', dilations, count, 'the stem and each stage'))

    @property
    def out_channels(self) -> tuple[int, ...]:
        return tuple(self._stages[index][1] for index in self.out_indices)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self._stages[index][2] for index in self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to the outputs of ``out_indices``, each (B, C, ⌈H/stride⌉, ⌈W/stride⌉)."""
        outputs = {}
        for index, (name, _, _) in enumerate(self._stages[:max(self.out_indices) + 1]):
            stage = getattr(self, name)
            if self.with_cp and x.requires_grad:
                x = cp.checkpoint(stage, x, use_reentrant=False)
            else:
                x = stage(x)
            outputs[index] = x
        return tuple(outputs[index] for index in self.out_indices)

    def fold(self, input_size: int | Sequence[int] | None) -> None:
        deploy_solvers(self, input_size)

    def freeze(self) -> None:
        """Switch off gradients and statistics of the frozen stages."""
        for name, _, _ in self._stages[:self.frozen_stages + 1]:
            stage = getattr(self, name)
            stage.eval()
            for parameter in stage.parameters():
                parameter.requires_grad = False

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
        ValueError: The sequence has another length, or an entry is under 1.
    """
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise ValueError(f'{name}={tuple(values)} has {len(values)} entries; legal: one number, or {count} ({stages})')
    if min(values) < 1:
        raise ValueError(f'{name}={value} has an entry under 1; nearest legal: 1')
    return values
