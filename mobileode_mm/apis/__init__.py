"""Training, testing and inference from a config, as the command lines do it."""
from .inference import Inferencer
from .inferring import infer
from .testing import test
from .training import train

__all__ = ['Inferencer', 'infer', 'test', 'train']
