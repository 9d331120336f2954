from .mini import make_mini_data
from .scenes import MINI_CLASSES

__all__ = ['MINI_CLASSES', 'make_mini_data']
