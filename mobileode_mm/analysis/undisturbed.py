"""A look at a network in the middle of a run, which leaves no trace in it."""
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.model import is_model_wrapper


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The model without its wrapper, in eval mode and without gradient; on leaving, all is as it was."""
    # A wrapper may talk to other processes, and the others do not take part here.
    bare = model.module if is_model_wrapper(model) else model
    modes = [(module, module.training) for module in bare.modules()]
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = {parameter.device for parameter in bare.parameters() if parameter.is_cuda}
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            bare.eval()
            yield bare
    finally:
        # One by one: frozen parts may be in eval mode while the rest trains.
        for module, mode in modes:
            module.training = mode
        random.setstate(python_state)
        np.random.set_state(numpy_state)
