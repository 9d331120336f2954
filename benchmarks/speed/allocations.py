"""Memory of one call."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile


def saved_bytes(step: Callable[[], object], owned: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps for the backward pass, each storage counted once: the memory of the activations.

    Args:
        step: One forward and backward pass.
        owned: Tensors that are there anyway (parameters, buffers) and are not counted.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in owned}
    kept = {}  # holds the storages, so that none is freed and its address used again while we count

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """Most bytes that torch holds during a call, beyond those that it held before.

    On CUDA from the allocator's own counter, on the CPU from the profiler's record of each allocation.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        step()
    live = peak = 0
    changes = [event for event in record.profiler.kineto_results.events() if event.name() == '[memory]']
    for event in sorted(changes, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
