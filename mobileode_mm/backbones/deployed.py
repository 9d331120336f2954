"""The deploy form of networks, in mmpretrain's habit: ``switch_to_deploy()`` changes a trained network in place."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from mmcv.cnn import ConvAWS2d, ConvModule, ConvWS2d
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.ode import ChannelwiseODESolver, DeployedODESolver, ExportedODESolver, KernelODESolver
from mobileode_mm.ode.exported import MATRICES_UP_TO

from .anytime import set_steps
from .cos_conv import fold_norms
from .fused import fuse_activations
from .timm_features import fold_timm


class DeployableBlock(ABC):
    """Mix-in of blocks that know what else of them belongs into the deploy form of their solver.

    They have no ``switch_to_deploy``, which programs call without arguments on every module that has one.
    """

    @abstractmethod
    def fold_into_solver(self, map_sizes: dict[nn.Module, tuple[int, int]]) -> None:
        """Replace the solver and what follows it, in place.

        Args:
            map_sizes: Height and width of the map that each solver reads; those that serve any size are left out.
        """


class Deployable(nn.Module):
    """Mix-in of networks that have a deploy form.

    Attributes:
        deploy: Whether the network has its deploy form.
    """

    deploy = False

    def switch_to_deploy(self, input_size: int | Sequence[int] | None = None) -> None:
        """Make a trained network one for inference alone, in place: the same outputs, and nothing left to train.

        Batch norms are folded into the convolutions before them, which take the activation with them
        (:class:`FusedConv`); the solvers get their constants prepared (:class:`DeployedODESolver`), with the norm,
        activation and sum that follow them in their block. A second call changes nothing. A network of the same config
        that is switched in the same way loads the state dict.

        Args:
            input_size: Height and width of the images, or one number for both: the solvers' grids are resampled for
                it once, and images of other sizes are refused. By default any size is served.

        Raises:
            RuntimeError: A batch norm keeps no running statistics; nothing is changed.
        """
        if self.deploy:
            return
        _complete_norms(self)
        self.eval()
        parts = [child for child in self.children() if isinstance(child, Deployable)]
        for part in parts:
            part.switch_to_deploy(input_size)
        self.fold(input_size)
        _unshare_convs(self)
        _standardise(self)
        fuse_conv_bn(self)
        fuse_activations(self)
        self.requires_grad_(False)
        self.deploy = True

    def set_steps(self, steps: int | Sequence[int]) -> None:
        """Choose how many steps the solvers take: :func:`mobileode_mm.backbones.set_steps`."""
        set_steps(self, steps)

    def fold(self, input_size: int | Sequence[int] | None) -> None:
        """Make constant what a network has beside its convolutions: of those parts that are no Deployable, the solvers
        and timm's networks.
        """
        deploy_solvers(self, input_size)
        fold_timm(self)

    def train(self, mode: bool = True):
        """As ``nn.Module.train``.

        Raises:
            RuntimeError: The network has its deploy form and cannot train any more.
        """
        if mode and self.deploy:
            raise RuntimeError(f'this {type(self).__name__} was switched to its deploy form, which cannot train: its '
                               'norms are folded. Build the network anew from its config, and load the training '
                               'checkpoint')
        return super().train(mode)


def _unshare_convs(network: nn.Module) -> None:
    """Give each norm a convolution of its own, into which it can be folded: the maps of RTMDet's head share theirs."""
    seen = set()
    for module in network.modules():
        if isinstance(module, ConvModule) and module.with_norm:
            if module.conv in seen:
                module.conv = copy.deepcopy(module.conv)
            seen.add(module.conv)


@torch.no_grad()
def _standardise(network: nn.Module) -> None:
    """Make ordinary convolutions of those that standardise their weights in each call, before norms change these."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvAWS2d):
                weight = child._get_weight(child.weight)
            elif isinstance(child, ConvWS2d):
                rows = child.weight.flatten(1)
                rows = (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + child.eps)
                weight = rows.view_as(child.weight)
            else:
                continue
            conv = nn.Conv2d(child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding,
                             child.dilation, child.groups)
            conv.weight, conv.bias = nn.Parameter(weight), child.bias
            setattr(parent, name, conv.eval())


def _complete_norms(network: nn.Module) -> None:
    """Give batch norms without weight and bias those that change nothing: mmcv's folding and ours read both.

    Raises:
        RuntimeError: A batch norm has no running statistics, so that it has no constants to fold.
    """
    norms = {name: norm for name, norm in network.named_modules() if isinstance(norm, _BatchNorm)}
    for name, norm in norms.items():
        if norm.running_mean is None:
            raise RuntimeError(f'{name} keeps no running statistics (track_running_stats=False): its outputs depend on '
                               'the whole batch, and a network with it has no deploy form')
    for norm in norms.values():
        if not norm.affine:
            norm.weight = nn.Parameter(torch.ones_like(norm.running_var))
            norm.bias = nn.Parameter(torch.zeros_like(norm.running_mean))
            norm.affine = True


@torch.no_grad()
def map_sizes(network: nn.Module, input_size: int | Sequence[int]) -> dict[nn.Module, tuple[int, int]]:
    """Height and width of the maps that each solver reads for images of ``input_size``; found by one run."""
    size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    sizes = {}

    def note(module, inputs):
        sizes[module] = tuple(inputs[0].shape[2:])

    handles = [module.register_forward_pre_hook(note) for module in network.modules()
               if isinstance(module, ChannelwiseODESolver)]
    try:
        parameter = next(network.parameters())
        network(torch.zeros(1, 3, *size, device=parameter.device, dtype=parameter.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def deploy_solvers(network: nn.Module, input_size: int | Sequence[int] | None) -> None:
    """Give every solver of a network in eval mode its deploy form, with what follows it where its block says so.

    Parts that have their deploy form already are left alone.
    """
    if not any(isinstance(module, ChannelwiseODESolver) for module in network.modules()):
        return
    sizes = {} if input_size is None else map_sizes(network, input_size)
    fold_norms(network)
    done = {module for part in network.modules() if isinstance(part, Deployable) and part.deploy
            for module in part.modules()}
    for parent in [module for module in network.modules() if module not in done]:
        if isinstance(parent, DeployableBlock):
            parent.fold_into_solver(sizes)
        for name, child in list(parent.named_children()):
            if isinstance(child, ChannelwiseODESolver):
                setattr(parent, name, DeployedODESolver(child, sizes.get(child)))


def switch_to_files(network: nn.Module, kernel: bool = False, matrices_up_to: float = MATRICES_UP_TO) -> None:
    """Give every solver of a network in deploy form the form that files consist of, in place.

    Args:
        network: The network.
        kernel: Of an ONNX file for a runtime that is given our kernel: one node, where the kernel serves the solver.
        matrices_up_to: As for :class:`ExportedODESolver`.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DeployedODESolver):
                served = kernel and KernelODESolver.serves(child)
                setattr(parent, name, KernelODESolver(child) if served else ExportedODESolver(child, matrices_up_to))
