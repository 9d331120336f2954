"""Who computes a solver layer: each backend verifies a call, and gives its reason where it declines.

A backend is a module with ``declines(layer, x) -> str | None``, ``solve(layer, x, residual) -> Tensor`` and, for what
never changes, ``never_serves(layer) -> str | None``. Layers ask :func:`select` in every call; people ask
``layer.backend_for(x)``. ``MOBILEODE_BACKEND=NAME`` in the environment forces one for every layer.
"""

import importlib
import logging
import os
from types import ModuleType

from torch import Tensor, nn

from ..tracing import assume_constant_result
from . import gpus

VARIABLE = 'MOBILEODE_BACKEND'
#: Every backend: its module here.
NAMES = ('cpu', 'triton', 'operators', 'reference')
#: By a layer's argument ``backend``: who is asked, one after the other. The last ones serve everything. Of tensors on a
#: GPU ``'auto'`` is ``'triton'`` where the table of measured GPUs (:mod:`.gpus`) says so, else ``'operators'``.
ORDERS = {
    'auto': ('cpu', 'operators'),
    'reference': ('reference', ),
    'triton': ('triton', 'operators'),
    'operators': ('operators', ),
}

_logger = logging.getLogger('mobileode_mm')
_loaded: dict[str, ModuleType] = {}
_logged: set[str] = set()


class Dispatched(nn.Module):
    """Mix-in of layers that a backend computes. ``backend`` is set last: it asks for the layer's other attributes.

    Attributes:
        candidates: Names of the backends that may serve this layer, in the order in which they are asked.
        never: Why others of its order never do.
        candidates_on_gpu, never_on_gpu: The same where x is on a GPU.
    """

    candidates: tuple[str, ...]
    never: str
    candidates_on_gpu: tuple[str, ...]
    never_on_gpu: str

    @property
    def backend(self) -> str:
        """Name in :data:`ORDERS`. Setting it raises ImportError where the backend's library is not installed."""
        return self._backend

    @backend.setter
    def backend(self, backend: str) -> None:
        self._backend = backend
        # Asked once: torch.compile looks in every call whether what it asked is still so.
        self.candidates, self.never = self._asked(ORDERS[backend])
        self.candidates_on_gpu, self.never_on_gpu = self.candidates, self.never
        if backend == 'auto':
            against = gpus.against_all()
            self.candidates_on_gpu, self.never_on_gpu = self._asked(ORDERS['operators' if against else 'triton'])
            if against:
                self.never_on_gpu = f'triton: {against}'

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        # A pickle may come from another machine, and this process may have loaded no backend yet.
        self.backend = self._backend

    def _asked(self, order: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
        """Which backends may serve this layer, and why the others never do."""
        reasons = {name: load(name).never_serves(self) for name in order}
        return (tuple(name for name, reason in reasons.items() if reason is None),
                '; '.join(f'{name}: {reason}' for name, reason in reasons.items() if reason is not None))

    def backend_for(self, x: Tensor) -> tuple[str, str]:
        """The name of the backend that ``layer(x)`` takes now, and why: the others' reasons, or '' for the first."""
        backend, reason = select(self, x)
        return backend.__name__.rpartition('.')[2], reason


def load(name: str) -> ModuleType:
    """The module of a backend.

    Raises:
        ImportError: Its library is not installed.
    """
    if name not in _loaded:
        _loaded[name] = importlib.import_module(f'.{name}', __name__)
    return _loaded[name]


def select(layer: Dispatched, x: Tensor) -> tuple[ModuleType, str]:
    """The backend of a call, and the reason: of every backend asked before it, why it declines.

    Each reason is logged once in a process.

    Raises:
        RuntimeError: The backend that the environment forces declines.
        ValueError: The environment names none.
    """
    name = forced_backend()
    if name:
        return _forced(name, layer, x)
    candidates, reason = layer.candidates, layer.never
    if x.is_cuda:
        candidates, reason = layer.candidates_on_gpu, layer.never_on_gpu
    for name in candidates:
        backend = _loaded[name]
        declined = backend.declines(layer, x)
        if declined is None:
            if reason:
                log_once(f'{type(layer).__name__} runs by {name}: {reason}')
            return backend, reason
        reason = f'{reason}; {name}: {declined}' if reason else f'{name}: {declined}'
    raise AssertionError(f'no backend takes what {candidates[-1]} has to take')


@assume_constant_result
def forced_backend() -> str:
    """The backend that the environment forces, or ''.

    Raises:
        ValueError: It names none.
    """
    name = os.environ.get(VARIABLE, '')
    if name and name not in NAMES:
        raise ValueError(f'{VARIABLE}={name} names no backend; there are {", ".join(NAMES)}')
    return name


@assume_constant_result
def log_once(line: str) -> None:
    """Log a line, the first time that it comes up in this process."""
    if line not in _logged:
        _logged.add(line)
        _logger.info(line)


def _forced(name: str, layer: Dispatched, x: Tensor) -> tuple[ModuleType, str]:
    backend = load(name)
    declined = backend.never_serves(layer) or backend.declines(layer, x)
    if declined:
        raise RuntimeError(f'{VARIABLE}={name}, but it does not serve this {type(layer).__name__}: {declined}. Unset '
                           'the variable, or set it to operators')
    return backend, f'{VARIABLE}={name}'
