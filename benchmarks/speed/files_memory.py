"""Memory that a file takes in a process of its own: ``python -m benchmarks.speed.files_memory FORMAT PATH H W``."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobileode_mm.deploy.formats import load

from .. import ROOT

_STATUS = Path('/proc/self/status')


def peak_of(file_format: str, files: Sequence[Path], size: tuple[int, int]) -> int | None:
    """Most bytes by which loading a file and running it once makes a fresh process larger; None outside Linux.

    The process has the runtime imported, and PyTorch, before that: neither is counted.

    Args:
        file_format: How it is loaded.
        files: The file, and a library of operators behind it.
        size: Height and width of its images.
    """
    if not _STATUS.is_file():
        return None
    command = [sys.executable, '-m', __name__, file_format, *map(str, size), *(str(path) for path in files)]
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT,
                          env={**os.environ, 'PYTHONPATH': paths})
    return int(done.stdout.split()[-1])


def _kilobytes(name: str) -> int:
    found = re.search(rf'^{name}:\s*(\d+) kB', _STATUS.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def _main(file_format: str, height: str, width: str, path: str, *others: str) -> None:
    library = next((Path(other) for other in others if other.endswith('.so')), None)
    if file_format == 'onnx':
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    before = _kilobytes('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
    load(Path(path), file_format, 1, library)(np.zeros((1, int(height), int(width), 3), np.uint8))
    print(1024 * (_kilobytes('VmHWM') - before))


if __name__ == '__main__':
    _main(*sys.argv[1:])
