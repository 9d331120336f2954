"""MobileODE V1 and V2 (NeurIPS 2025): depthwise networks whose channel mixing is an ODE."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule, build_norm_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.ode import ChannelwiseODESolver, DeployedODESolver, StepStatistics, square_side

from ..errors import InputError
from .anytime import Anytime
from .base import StagedBackbone, multiple_of_8, per_stage
from .deployed import DeployableBlock


class SolverModule(DeployableBlock, BaseModule):
    """Channelwise ODE solver, norm, ReLU6: what stands in the place of a 1×1 ConvModule.

    Args:
        in_channels, out_channels: Perfect squares.
        solver: The other keywords of :class:`ChannelwiseODESolver`.
        norm_cfg: Norm of the output channels; None for none.
        numbers: Numbers of steps, beside the solver's, that :meth:`set_steps` may choose: both norms keep running
            statistics for each.

    Attributes:
        fused: Whether norm, activation and residual are the solver's own, in the deploy form.
    """

    fused = False
    norm_name: str
    statistics: StepStatistics | None

    def __init__(self, in_channels: int, out_channels: int, solver: dict, norm_cfg: dict | None,
                 numbers: Sequence[int] = ()):
        super().__init__()
        self.solver = ChannelwiseODESolver(in_channels, out_channels, **solver)
        self.norm_name, layer = build_norm_layer(norm_cfg, out_channels) if norm_cfg else ('norm', nn.Identity())
        self.add_module(self.norm_name, layer)
        self.act = nn.ReLU6(inplace=True)
        self.statistics = None  # no module of None, which MMEngine's counter of operations cannot print
        if numbers:
            self.solver.norm.keep_statistics(numbers)
            if getattr(layer, 'running_mean', None) is not None:
                self.statistics = StepStatistics(layer, numbers)

    def set_steps(self, number: int) -> None:
        """Take so many steps, one of ``numbers`` or the solver's own.

        Raises:
            RuntimeError: The solver's norm of channels was replaced by a synchronised one, which has no statistics for
                other numbers of steps.
        """
        inner = getattr(self.solver.norm, 'statistics', None)
        if inner is None:
            raise RuntimeError("anytime with solver_norm='channel' cannot train with synchronised norms: take "
                               "solver_norm='position', or norm_cfg=dict(type='BN') in the whole network")
        self.solver.num_steps = number
        inner.take(number)
        if self.statistics is not None:
            self.statistics.take(number)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), plus the residual of that shape where one is given."""
        if self.fused:
            return self.solver(x, residual)
        y, norm = self.solver(x), getattr(self, self.norm_name)
        taken = None if self.statistics is None else self.statistics.taken
        y = self.act(norm(y) if taken is None else functional_call(norm, dict(taken.named_buffers()), (y, )))
        return y if residual is None else residual + y

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if self.statistics is not None:
            self.statistics.fill(state_dict, f'{prefix}statistics.', f'{prefix}{self.norm_name}.')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def fold_into_solver(self, map_sizes: dict[nn.Module, tuple[int, int]]) -> None:
        norm = getattr(self, self.norm_name)
        inner = self.solver.norm
        # A norm that was put in the place of the solver's own has none.
        for one, statistics in ((inner, getattr(inner, 'statistics', None)), (norm, self.statistics)):
            if statistics is not None:
                statistics.settle(one)
        del self.statistics  # else it stays a module, of None
        self.statistics = None
        # Whatever else norm_cfg names stays a module after the solver.
        self.fused = isinstance(norm, _BatchNorm)
        self.solver = DeployedODESolver(self.solver, map_sizes.get(self.solver), norm if self.fused else None)
        if self.fused:
            delattr(self, self.norm_name)


class ODEResidualBlock(BaseModule):
    """[expanding solver,] depthwise 3×3, reducing solver, plus the input. ReLU6 throughout, stride 1.

    Args:
        channels: C, a perfect square; input and output are (B, C, H, W).
        expand_ratio: e, a perfect square; with e = 1 there is no expanding solver.
        dilation: Of the depthwise convolution.
        solver: Keywords of both solvers (:class:`ChannelwiseODESolver`); default its own.
        conv_cfg, norm_cfg: As in ConvModule.
        numbers: As for :class:`SolverModule`.
        expand_gain, expand_init: ``expand_gain`` and ``init_std`` of the expanding solver; None leaves them as they are
            in ``solver``.

    Raises:
        ValueError: ``expand_ratio`` is no perfect square, or it is 1 and one of the last two is given.
    """

    def __init__(self, channels: int, expand_ratio: int = 1, dilation: int = 1, solver: dict | None = None,
                 conv_cfg: dict | None = None, norm_cfg: dict | None = dict(type='BN'), numbers: Sequence[int] = (),
                 expand_gain: float | None = None, expand_init: float | None = None):
        super().__init__()
        square_side('expand_ratio', expand_ratio)
        given = dict(expand_gain=expand_gain, init_std=expand_init)
        expanding = {name: value for name, value in given.items() if value is not None}
        if expand_ratio == 1 and expanding:
            raise ValueError(f'expand_gain={expand_gain}, expand_init={expand_init}: both are of expanding solvers, '
                             'and with expand_ratio=1 there are none; legal: None')
        hidden = channels * expand_ratio
        solver = {} if solver is None else solver
        self.expand = (nn.Identity() if expand_ratio == 1 else
                       SolverModule(channels, hidden, {**solver, **expanding}, norm_cfg, numbers))
        self.depthwise = ConvModule(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden,
                                    conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=None)
        self.project = SolverModule(hidden, channels, solver, norm_cfg, numbers)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.depthwise(self.expand(x)), x)


class MobileODE(StagedBackbone):
    """Common body of V1 and V2; see :class:`MobileODEV1` for the arguments."""

    # rows of arch_settings: side of the square width, residual blocks, stride
    default_expand_ratio: int
    stem_channels = 32
    closing_channels: int
    #: Whether a separable block has its activation after the pointwise convolution, or else after the depthwise one.
    entry_ends_active = True

    def __init__(self,
                 widen_factor: float = 1.0,
                 num_steps: int | Sequence[int] = 3,
                 expand_ratio: int | None = None,
                 out_indices: int | Sequence[int] = (5, ),
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 strides: Sequence[int] | None = None,
                 dilations: Sequence[int] | None = None,
                 input_size: int | Sequence[int] = 256,
                 sides: Sequence[int] | None = None,
                 solver: str = 'euler',
                 solver_norm: str = 'position',
                 solver_backend: str = 'auto',
                 learnable_step: bool = True,
                 resize_mode: str = 'bilinear',
                 expand_gain: float | None = None,
                 expand_init: float | None = None,
                 conv_cfg: dict | None = None,
                 norm_cfg: dict | None = dict(type='BN', requires_grad=True),
                 act_cfg: dict = dict(type='ReLU'),
                 init_cfg: dict | list | None = None,
                 anytime: dict | None = None):
        super().__init__(out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        if widen_factor <= 0:
            raise ValueError(f'widen_factor={widen_factor} must be positive; the usual ones: 0.5, 1.0, 1.5')
        expand_ratio = self.default_expand_ratio if expand_ratio is None else expand_ratio
        square_side('expand_ratio', expand_ratio)
        strides, dilations = self.stage_layout(strides, dilations)
        with_solver = [index for index, (_, blocks, _) in enumerate(self.arch_settings) if blocks]
        steps = dict(zip(with_solver, per_stage('num_steps', num_steps, len(with_solver), 'each stage with solvers')))
        self.anytime = None if anytime is None else Anytime.of(anytime, steps.values())
        size = per_stage('input_size', input_size, 2, 'height and width')
        squares = [side for side, _, _ in self.arch_settings if side]
        sides = per_stage('sides', squares if sides is None else sides, len(squares), 'each stage after the stem')

        solver_cfg = dict(solver=solver, norm=solver_norm, backend=solver_backend, learnable_step=learnable_step,
                          resize_mode=resize_mode)
        conv = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        # Height and width of the stem's map and of each stage's, which are the reference grids of the position norms.
        grids = list(accumulate(strides, _downsampled, initial=size))[1:]

        def make_stage(index, in_width, stride, entry_dilation, dilation):
            width = self.stage_width(index, sides, widen_factor)
            entry = DepthwiseSeparableConvModule(in_width, width, 3, stride=stride, padding=entry_dilation,
                                                 dilation=entry_dilation,
                                                 dw_act_cfg=None if self.entry_ends_active else act_cfg,
                                                 pw_act_cfg=act_cfg if self.entry_ends_active else None, **conv)
            if index not in steps:
                return [entry, *self.blocks_without_solver(index, width, dilation, act_cfg=act_cfg, **conv)], width
            here = dict(solver_cfg, num_steps=steps[index], grid_size=grids[index + 1])
            numbers = () if self.anytime is None else self.anytime.steps[:-1]
            return [entry, *(ODEResidualBlock(width, expand_ratio, dilation, here, **conv, numbers=numbers,
                                              expand_gain=expand_gain, expand_init=expand_init)
                             for _ in range(self.arch_settings[index][1]))], width

        # Detectors and segmentors do not read it, and unused parameters stop a training in several processes.
        closes = self.has_closing_stage and len(self.arch_settings) + 1 in self.out_indices
        closing = multiple_of_8(self.closing_channels * widen_factor) if closes else None
        self.build(multiple_of_8(self.stem_channels * widen_factor), strides, dilations, make_stage, closing,
                   act_cfg=act_cfg, **conv)
        self.with_solver = tuple(f'stage{index + 1}' for index in with_solver)
        self.num_steps = tuple(steps.values())
        if self.anytime is not None:
            self.set_steps(self.anytime.take)

    def set_steps(self, steps: int | Sequence[int]) -> None:
        """Choose how many steps the solvers take from now on; weights and statistics stay as they are.

        Args:
            steps: One number for all, or one for each stage with solvers: of those that ``anytime`` names.

        Raises:
            InputError: The network was not trained for this choice.
            RuntimeError: It has its deploy form, which has one number alone.
        """
        if self.deploy:
            raise RuntimeError(f'this {type(self).__name__} was switched to its deploy form, which has one number of '
                               'steps alone: call set_steps before switch_to_deploy')
        if self.anytime is None:
            raise InputError(f'this {type(self).__name__} has one number of steps: there is no '
                             'anytime=dict(steps=...) in its config')
        self.num_steps = self.anytime.chosen(steps, len(self.with_solver))
        for name, number in zip(self.with_solver, self.num_steps):
            for module in getattr(self, name).modules():
                if isinstance(module, SolverModule):
                    module.set_steps(number)

    def stage_width(self, index: int, sides: Sequence[int], widen_factor: float) -> int:
        """Channels of the stage of a row of ``arch_settings``, by the sides of the square widths."""
        return max(1, round(sides[index] * widen_factor)) ** 2

    def blocks_without_solver(self, index: int, width: int, dilation: int, **conv: Any) -> list[nn.Module]:
        """What follows the entry of a stage without solvers; ``conv`` are ``conv_cfg``, ``norm_cfg``, ``act_cfg``."""
        return []


def _downsampled(size: tuple[int, ...], stride: int) -> tuple[int, ...]:
    return tuple(-(-side // stride) for side in size)


#: Arguments of the edge preset of V1: what files for devices compute fastest (docs/deploy.md).
EDGE = dict(sides=(8, 8, 16, 24, 24), num_steps=1, solver_norm='channel', act_cfg=dict(type='ReLU'))


@MODELS.register_module()
class MobileODEV1(MobileODE):
    """MobileODE V1: residual blocks without expansion.

    Stages 0 to 5 (stem and five stages) have strides 2, 2, 4, 8, 16, 32 and, at ``widen_factor`` 1, 32, 64, 144,
    256, 576, 576 channels. Source: the released program's networks and parameter counts (614,034 with a linear
    layer of 10 classes and CIFAR's strides at 32 px).

    Args:
        widen_factor: Scales the sides of the square widths, so that every width stays a perfect square.
        num_steps: Steps of each solver: one number, or one for each of stages 2 to 5.
        expand_ratio: Expansion inside the residual blocks, a perfect square; default 1 (V2: 4).
        out_indices: Stages that are returned; 0 is the stem.
        frozen_stages: Freeze stage 0 up to this one; -1 freezes none.
        norm_eval: Norms, the solvers' included, stay in eval mode while training.
        with_cp: Recompute each stage in the backward pass.
        strides: Stride of the stem and of each stage, six numbers; default (2, 1, 2, 2, 2, 2), for CIFAR
            (1, 1, 1, 2, 2, 2), for output stride 8 (2, 1, 2, 2, 1, 1).
        dilations: Dilation of the stem and of each stage, six numbers; default all 1, for output stride 8
            (1, 1, 1, 1, 2, 4). A stage's entry convolution takes the dilation of the stage before.
        input_size: Image height and width, or one number for both, whose feature sizes are the reference grids of
            the position norms. Images of any other size work too, by resampling.
        sides: Sides of the square widths of stages 1 to 5, before ``widen_factor``; default (8, 12, 16, 24, 24), in V2
            (8, 12, 16, 24, 32).
        solver: ``'euler'`` as released, ``'midpoint'``, ``'heun'`` or ``'rk4'``: how the solvers step.
        solver_norm: ``'position'`` as released, or ``'channel'``.
        solver_backend: ``'auto'``, ``'operators'``, ``'reference'`` or ``'triton'``: who computes the solvers
            (:class:`ChannelwiseODESolver`).
        learnable_step: False fixes every step to 1/L, the classic step over unit time. The state dict keeps its keys,
            and steps that a checkpoint brings are fixed at these.
        resize_mode: ``'bilinear'`` as released, ``'nearest'`` or ``'bicubic'``: how solvers change the width. V1 has
            no solver that does.
        expand_gain: Give the expanding solvers a learned factor for each channel of their resized map
            (:class:`ChannelwiseODESolver`): the standard deviation of its initial values around 1. None, as released,
            has none. Refused, as the next one, where ``expand_ratio`` is 1.
        expand_init: Standard deviation of the initial values of the expanding solvers' K; default 0.1, as of all
            others.
        conv_cfg, norm_cfg, act_cfg: As in ConvModule; ``act_cfg`` serves the stem and the separable blocks (the
            release: ReLU for CIFAR, SiLU at 256 px). Residual blocks always use ReLU6.
        init_cfg: MMEngine's; default Kaiming for convolutions. The solvers keep the release's initial values.
        anytime: Train for several numbers of steps, of which :meth:`set_steps` chooses one after it (docs/anytime.md).
            A dict of ``steps``, the numbers, of which the largest is ``num_steps``; ``take``, the one that is taken
            outside of training, or one for each of stages 2 to 5 (default: the largest); and ``distill``, whether in
            training fewer steps also follow the features of the largest number (default: False).

    Raises:
        ValueError: An argument is out of its range; the message names it, its value and the nearest legal ones.
        ImportError: ``solver_backend='triton'`` where Triton is not installed.

    Example:
        >>> backbone = MobileODEV1(out_indices=(4, 5))
        >>> backbone.out_channels, backbone.strides
        ((576, 576), (16, 32))
    """

    arch_settings = ((8, 0, 1), (12, 1, 2), (16, 1, 2), (24, 5, 2), (24, 1, 2))
    default_expand_ratio = 1


@MODELS.register_module()
class MobileODEV2(MobileODE):
    """MobileODE V2: inverted residual blocks with expansion 4, and 1024 channels in stage 5.

    Arguments as in :class:`MobileODEV1`. Source: the released program's networks; its separable block is kept at
    stride 1 too, where the release leaves it out and cannot run.
    """

    arch_settings = ((8, 0, 1), (12, 1, 2), (16, 1, 2), (24, 5, 2), (32, 1, 2))
    default_expand_ratio = 4
