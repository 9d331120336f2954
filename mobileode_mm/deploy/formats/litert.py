"""LiteRT (TensorFlow Lite's format), for Android and microcomputers."""

import json
import zipfile
from pathlib import Path

from torch import Tensor

from ..tasks import Task
from .common import Format, Run, quiet

#: In the ZIP archive at the end of the file, where LiteRT's own tools keep associated files too.
_META = 'metadata.json'


class LiteRT(Format):
    """One signature, whose outputs are ``output_0``, ``output_1`` in the metadata's order."""

    suffix = '.tflite'
    extra = 'litert'
    own_environment = True
    writes_with = ('litert_torch', )
    runs_with = ('ai_edge_litert', )
    free = ('none', )
    why_fixed = 'its converter takes shapes that are known'
    why_no_nms = 'its converter has no operator for it'

    def write(self, task: Task, example: Tensor, dynamic: str, path: Path, metadata: dict[str, str]) -> None:
        """See :class:`Format`."""
        with quiet():
            import litert_torch
            litert_torch.convert(task, (example, )).export(str(path))
        with zipfile.ZipFile(path, 'a') as archive:
            archive.writestr(_META, json.dumps(metadata))

    def load(self, path: Path, threads: int = 0) -> Run:
        """See :class:`Format`."""
        from ai_edge_litert.interpreter import Interpreter
        interpreter = Interpreter(str(path), num_threads=threads or None)
        runner = interpreter.get_signature_runner()
        (given, ), count = runner.get_input_details(), len(runner.get_output_details())

        def run(image):
            found = runner(**{given: image})
            return [found[f'output_{number}'] for number in range(count)]

        return run

    def metadata(self, path: Path) -> dict[str, str]:
        """See :class:`Format`."""
        if not zipfile.is_zipfile(path):
            return {}
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(_META)) if _META in archive.namelist() else {}
