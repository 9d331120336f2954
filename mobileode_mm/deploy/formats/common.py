"""What a format is, and what the formats share."""

import copy
import importlib.util
import io
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...ode.exported import MATRICES_UP_TO
from ..heads import Found
from ..tasks import Suppression, Task, best_boxes

#: What may differ from call to call.
DYNAMIC = ('none', 'batch', 'size', 'both')

#: From a batch (B, H, W, 3), uint8, RGB, to the outputs in the task's order.
Run = Callable[[np.ndarray], list[np.ndarray]]


class Format(ABC):
    """How one kind of file is written, read and run.

    Attributes:
        suffix: The file's name ends in it.
        beside: Suffixes, in the place of the first, of other files that belong to it.
        extra: The extra of ``pyproject.toml`` that brings what it needs; '' where torch does.
        own_environment: Whether the extra's pins clash with ours, so that ``make install-EXTRA`` makes it a place.
        writes_with: Packages that writing needs.
        runs_with: Packages that running needs.
        free: Of :data:`DYNAMIC`, what it can leave free.
        why_fixed: Why it can leave no more free.
        why_no_nms: Why suppression cannot be in the file; '' where it can.
        matrices_up_to: Numbers of a map up to which the solvers' products are those of matrices, beyond which they are
            convolutions in groups (:class:`ExportedODESolver`): what the runtime is faster with.
        operator: C++ of our kernel as an operator of its runtime; None where there is none.
        library: That, compiled, for the files that need it.
    """
    suffix: str
    beside: Sequence[str] = ()
    extra: str = ''
    own_environment: bool = False
    writes_with: Sequence[str] = ()
    runs_with: Sequence[str] = ()
    free: Sequence[str] = DYNAMIC
    why_fixed: str = ''
    why_no_nms: str = ''
    matrices_up_to: float = MATRICES_UP_TO
    operator: Path | None = None
    library: Path | None = None

    @abstractmethod
    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """Write a task into a file.

        Args:
            task: In eval mode, the network in its deploy form.
            example: (B, H, W, 3), uint8; its size is the file's where that is not dynamic.
            dynamic: One of :attr:`free`: which of batch and size may differ.
            path: The file. Those of :attr:`beside` come into its folder.
            metadata: Goes into the file, or into one beside it.

        Raises:
            InputError: The runtime lacks something that this network needs.
        """

    @abstractmethod
    def load(self, path: Path, threads: int = 0) -> Run:
        """A function that runs a file.

        Args:
            path: The file.
            threads: Of the runtime, 0: as many as it likes. PyTorch and ExecuTorch have one number for all files.
        """

    @abstractmethod
    def metadata(self, path: Path) -> dict[str, str]:
        """What a file says of itself; empty where it says nothing."""

    def files(self, path: Path) -> list[Path]:
        """The file and those that belong to it."""
        stem = path.name.removesuffix(self.suffix)
        return [path, *(path.with_name(stem + suffix) for suffix in self.beside)]

    def kernel_files(self, path: Path) -> list[Path]:
        """Beside a file, those of the same network with our kernel; the last is the library."""
        return [*self.files(path.with_suffix(f'.ops{self.suffix}')), path.with_suffix('.ops.so')]

    def with_library(self, library: Path | None) -> 'Format':
        """The same for files that need a library of operators."""
        one = copy.copy(self)
        one.library = library
        return one

    def compiler_flags(self) -> list[str]:
        """What the compiler needs to make a library of :attr:`operator`.

        Raises:
            InputError: Something that the runtime should bring is not there.
        """
        return []

    def missing(self, packages: Sequence[str]) -> list[str]:
        """Of some packages, those that are not installed."""
        return [name for name in packages if importlib.util.find_spec(name) is None]


def program(task: nn.Module, example: Tensor, dynamic: str) -> torch.export.ExportedProgram:
    """The exported program of a task, whose batch, or height and width, are free as ``dynamic`` says."""
    axes = {'none': (), 'batch': (0, ), 'size': (1, 2), 'both': (0, 1, 2)}[dynamic]
    shapes = ({axis: torch.export.Dim.DYNAMIC for axis in axes}, ) if axes else None
    return torch.export.export(task, (example, ), dynamic_shapes=shapes)


def run_of(module: Callable) -> Run:
    """The same function of a task as a module, in PyTorch."""
    def run(image):
        with torch.no_grad():
            return [output.numpy() for output in module(torch.from_numpy(image))]

    return run


def suppressed(run: Run, levels: Sequence[int], how: Suppression) -> Run:
    """What gives boxes and scores of all anchors, and behind it the choice of the best.

    Args:
        run: The function.
        levels: Number of anchors of each map.
        how: How the best are chosen.
    """
    def both(image):
        boxes, scores = map(torch.from_numpy, run(image))
        return [output.numpy() for output in best_boxes(Found(boxes, scores.split(list(levels), 1), None), how)]

    return both


def recorded(module: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    """A module as what it calls on an example."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return torch.jit.trace(module, example, check_trace=False)


@contextmanager
def quiet():
    """Without what exporters, quantisers and metrics remark on their progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)
