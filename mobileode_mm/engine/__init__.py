"""What a Runner takes beyond the model: hooks, whole checkpoints, several processes. Importing it registers them;
what draws is imported when a hook draws."""

from .anytime import AnytimeHook
from .atomic_backend import AtomicLocalBackend
from .distributed import MobileODEDistributedDataParallel
from .divergence import DivergenceHook
from .progress import ProgressBarHook
from .quantised import QuantisationAwareHook
from .reseed import ReseedHook
from .run_report import RunReportHook
from .validation import UnfinishedValidationHook

__all__ = [
    'AnytimeHook', 'AtomicLocalBackend', 'DivergenceHook', 'MobileODEDistributedDataParallel', 'ProgressBarHook',
    'QuantisationAwareHook', 'ReseedHook', 'RunReportHook', 'UnfinishedValidationHook'
]
