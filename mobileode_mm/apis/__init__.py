"""Training, testing and inference from a config, as the command lines do it."""
from ..inference.infer import infer
from ..inference.inferencer import Inferencer
from ..runs.testing import test
from ..runs.training import train

__all__ = ['Inferencer', 'infer', 'test', 'train']
