"""Training and testing from a config, as the command lines do it."""
from .testing import test
from .training import train

__all__ = ['test', 'train']
