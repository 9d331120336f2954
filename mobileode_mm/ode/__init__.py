"""The mathematics of the Channelwise ODE Solver, on torch alone."""

from .channel_norm import ChannelNorm
from .checks import square_side
from .cos import ChannelwiseODESolver
from .deployed import DeployedODESolver
from .exported import ExportedODESolver, KernelODESolver
from .moments import global_moments, is_distributed
from .naive import cos_naive
from .position_norm import PositionNorm, resample_grid
from .resize import RESIZE_MODES, resize_matrix
from .solver_norm import fold_norm
from .solvers import SOLVERS
from .statistics import StepStatistics
from .tracing import is_exporting, is_watched

__all__ = [
    'RESIZE_MODES', 'SOLVERS', 'ChannelNorm', 'ChannelwiseODESolver', 'DeployedODESolver', 'ExportedODESolver',
    'KernelODESolver', 'PositionNorm', 'StepStatistics', 'cos_naive', 'fold_norm', 'global_moments', 'is_distributed',
    'is_exporting', 'is_watched', 'resample_grid', 'resize_matrix', 'square_side'
]
