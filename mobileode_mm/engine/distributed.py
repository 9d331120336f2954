"""Training on several processes, CPUs included."""

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from ..backbones.sync_norms import sync_norms


@MODEL_WRAPPERS.register_module()
class MobileODEDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's DDP for GPUs and CPUs, with synchronised position norms where the network asks for SyncBN.

    Args:
        module: The network.
        device_ids: GPU of this process; ignored where the network lies on the CPU.
        broadcast_buffers, kwargs: As in MMDistributedDataParallel.
    """

    def __init__(self, module: nn.Module, device_ids: list[int] | None = None, broadcast_buffers: bool = False,
                 **kwargs):
        device_type = next(module.parameters()).device.type
        if device_type == 'cpu':
            device_ids = None
        super().__init__(sync_norms(module, device_type), device_ids=device_ids, broadcast_buffers=broadcast_buffers,
                         **kwargs)
