"""What a Runner takes beyond the model: hooks, whole checkpoints, several processes. Importing it registers them."""

from .atomic_backend import AtomicLocalBackend
from .distributed import MobileODEDistributedDataParallel
from .progress import ProgressBarHook
from .report import RunReportHook
from .reseed import ReseedHook

__all__ = [
    'AtomicLocalBackend', 'MobileODEDistributedDataParallel', 'ProgressBarHook', 'ReseedHook', 'RunReportHook'
]
