"""The mathematics of the Channelwise ODE Solver, on torch alone."""

from .checks import square_side
from .cos import ChannelwiseODESolver
from .moments import global_moments, is_distributed
from .naive import cos_naive
from .position_norm import PositionNorm, resample_grid
from .resize import bilinear_matrix
from .solvers import SOLVERS

__all__ = [
    'SOLVERS', 'ChannelwiseODESolver', 'PositionNorm', 'bilinear_matrix', 'cos_naive', 'global_moments',
    'is_distributed', 'resample_grid', 'square_side'
]
