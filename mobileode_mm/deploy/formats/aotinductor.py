"""AOTInductor's package: the program as machine code of this machine, which PyTorch runs."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..tasks import Task
from .common import program, quiet
from .pytorch import META, PyTorchs


class AOTInductor(PyTorchs):
    """Compiled with this machine's C++ compiler, for its processor."""

    suffix = '.aoti.pt2'

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        from torch._inductor import aoti_compile_and_package
        exported = program(task, example, dynamic)
        with quiet():
            aoti_compile_and_package(exported, package_path=str(path),
                                     inductor_configs={'aot_inductor.metadata': {META: json.dumps(metadata)}})

    def read(self, path: Path, extra: dict[str, str]) -> Callable:
        """See :class:`PyTorchs`."""
        with quiet():
            loaded = torch._inductor.aoti_load_package(str(path))
        extra.update({name: loaded.get_metadata().get(name, '') for name in extra})
        return loaded
