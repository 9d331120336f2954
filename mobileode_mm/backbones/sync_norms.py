"""Norms that synchronise over several processes, on any device, CPUs included."""

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm

from mobileode_mm.ode import ChannelwiseODESolver, PositionNorm, global_moments, is_distributed


class ReducedBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, by differentiable all-reduces: for devices without SyncBatchNorm.

    torch's SyncBatchNorm refuses tensors on the CPU. In eval mode, or with one process, this is plain batch norm, of
    (B, C, ...) with any number of dimensions.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and is_distributed()):
            return super().forward(x)
        dims = (0, *range(2, x.dim()))
        exact = x if x.dtype == torch.float64 else x.float()
        mean, var, count = global_moments(exact, dims)
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(var * (count / (count - 1)), momentum)
        scale = torch.rsqrt(var + self.eps)
        scale = scale * self.weight if self.affine else scale
        shift = -mean * scale + (self.bias if self.affine else 0)
        per_channel = (-1, *[1] * (x.dim() - 2))
        return (exact * scale.view(per_channel) + shift.view(per_channel)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        pass


def trains_on_one_image(module: nn.Module, batch_size: int) -> bool:
    """Whether a batch norm in training mode takes the statistics of a 1x1 map from one image, which cannot be done.

    Synchronised norms see the images of all processes, and so of one where there is but one process.

    Args:
        module: The part of a network that makes the 1x1 map and all after it.
        batch_size: Images in this process.
    """
    synchronised = (SyncBatchNorm, ReducedBatchNorm) if get_world_size() > 1 else ()
    return batch_size == 1 and any(
        isinstance(norm, _BatchNorm) and norm.training and not isinstance(norm, synchronised)
        for norm in module.modules())


def sync_norms(module: nn.Module, device_type: str) -> nn.Module:
    """Make a network that asks for SyncBN synchronise all of its norms, in place.

    A network that holds a SyncBatchNorm (by ``norm_cfg`` or by the Runner's ``sync_bn``) gets the norms inside its
    solvers synchronised too. These, where they are batch norms, and on the CPU the SyncBatchNorms become
    :class:`ReducedBatchNorm` with the same parameters and buffers. A network without SyncBatchNorm is left as it is.
    """
    if not any(isinstance(child, SyncBatchNorm) for child in module.modules()):
        return module
    for parent in list(module.modules()):
        if isinstance(parent, PositionNorm):
            parent.sync = True
        for name, child in list(parent.named_children()):
            in_solver = isinstance(parent, ChannelwiseODESolver) and isinstance(child, _BatchNorm)
            if in_solver or isinstance(child, SyncBatchNorm) and device_type == 'cpu':
                setattr(parent, name, _reduced(child))
    return module


def _reduced(norm: _BatchNorm) -> ReducedBatchNorm:
    reduced = ReducedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    reduced._parameters, reduced._buffers = norm._parameters, norm._buffers
    return reduced.train(norm.training)
