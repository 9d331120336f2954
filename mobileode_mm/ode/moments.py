"""Batch moments over all processes, with gradients."""

from math import prod

import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce


def is_distributed() -> bool:
    """Whether there is more than one process to share statistics with."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def global_moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of ``x`` over ``dims`` and over the batches of all processes.

    Differentiable: the backward pass sums the gradients of all processes, so that under DDP's averaging each
    parameter gets the gradient of the global batch. Two passes (mean, then squared distance from it) keep
    float32 accuracy where the mean is large. Processes may hold batches of different sizes.

    Returns:
        mean and variance (``x``'s shape without ``dims``), and the number of values behind each (0-dim).
    """
    count = x.new_tensor(float(prod(x.shape[dim] for dim in dims)))
    dist.all_reduce(count)
    mean = all_reduce(x.sum(dims, keepdim=True)) / count
    variance = all_reduce((x - mean).square().sum(dims)) / count
    return mean.squeeze(dims), variance, count
