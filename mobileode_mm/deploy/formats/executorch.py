"""ExecuTorch, PyTorch's runtime for phones and boards, with XNNPACK's kernels."""

import json
import math
import os
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from ..tasks import Task
from .common import Format, Run, program, quiet

#: A method beside ``forward`` that gives the metadata, as JSON.
_METHOD = 'metadata'


class ExecuTorch(Format):
    """XNNPACK computes what it can, ExecuTorch's portable operators the rest."""

    suffix = '.pte'
    extra = 'executorch'
    own_environment = True
    writes_with = ('executorch', )
    runs_with = ('executorch', )
    free = ('none', )
    why_fixed = 'its memory is planned when the file is written'
    why_no_nms = 'ExecuTorch has no operator for it'
    matrices_up_to = math.inf  # an eighth of the time that V1's mini detector takes with convolutions in groups

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        # Its schema compiler, which is looked for on the PATH, where an environment that is not activated is not.
        compiler = Path(find_spec('executorch').submodule_search_locations[0], 'data/bin/flatc')
        os.environ.setdefault('FLATC_EXECUTABLE', str(compiler))
        exported = program(task, example, dynamic)
        with quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower
            edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()],
                                               constant_methods={_METHOD: json.dumps(metadata)})
            path.write_bytes(edge.to_executorch().buffer)

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`."""
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime
        if threads:
            _unsafe_reset_threadpool(threads)
        loaded = Runtime.get().load_program(path)
        forward = loaded.load_method('forward')

        def run(image):
            # Its outputs lie in memory that the next call writes to.
            return [output.numpy().copy() for output in forward.execute([torch.from_numpy(image)])]

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        from executorch.runtime import Runtime
        loaded = Runtime.get().load_program(path)
        return json.loads(loaded.load_method(_METHOD).execute([])[0]) if _METHOD in loaded.method_names else {}
