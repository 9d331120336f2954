from .curves import plot_curves
from .scalars import headline_metric, read_scalars
from .sheet import prediction_sheet

__all__ = ['headline_metric', 'plot_curves', 'prediction_sheet', 'read_scalars']
