"""PyTorch's own files: TorchScript and exported programs."""

import json
import warnings
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..tasks import Task
from .common import Format, Run, program, recorded

#: Under which name the metadata are in the file.
META = 'metadata.json'


class PyTorchs(Format):
    """What torch reads back as a module on tensors."""

    why_no_nms = 'PyTorch has no operator of its own for it that a file of this format could carry'

    @abstractmethod
    def read(self, path: Path, extra: dict[str, str]) -> Callable:
        """The module, and what is in the archive of the names in ``extra``."""

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`."""
        module = self.read(path, {})
        if threads:
            torch.set_num_threads(threads)

        def run(image):
            with torch.no_grad():
                return [output.numpy() for output in module(torch.from_numpy(image))]

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        extra = {META: ''}
        self.read(path, extra)
        return json.loads(extra[META] or '{}')


class TorchScript(PyTorchs):
    """A recording at one size, which PyTorch's C++ library runs as well."""

    suffix = '.pt'
    free = ('none', 'batch')
    why_fixed = 'a TorchScript file is a recording at one size: --dynamic batch is all it can'

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        torch.jit.save(recorded(task, example), path, _extra_files={META: json.dumps(metadata)})

    def read(self, path: Path, extra: dict[str, str]) -> Callable:
        """See :class:`PyTorchs`."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # torch's own, on the buffers of a file that it reads
            return torch.jit.load(path, _extra_files=extra)


class ExportedProgram(PyTorchs):
    """What ``torch.export`` makes, which PyTorch runs and compiles."""

    suffix = '.pt2'

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        torch.export.save(program(task, example, dynamic), path, extra_files={META: json.dumps(metadata)})

    def read(self, path: Path, extra: dict[str, str]) -> Callable:
        """See :class:`PyTorchs`."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.export.load(path, extra_files=extra).module()
