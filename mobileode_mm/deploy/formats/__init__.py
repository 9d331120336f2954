"""The files: a class a format, all in one table, and how they are written, told apart and run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ..kernel_library import require_compiler
from ..tasks import Task
from .common import DYNAMIC, Format, Run, quiet, run_of, suppressed
from .executorch import ExecuTorch
from .litert import LiteRT
from .ncnn import Ncnn
from .onnx import OPSET, Onnx, session_options
from .openvino import OpenVINO
from .pytorch import ExportedProgram, TorchScript

__all__ = ['DYNAMIC', 'FORMATS', 'OPSET', 'Format', 'Run', 'check_able', 'format_of', 'load', 'needed',
           'onnx_metadata', 'quiet', 'require', 'run_of', 'session_options', 'suppressed', 'write']

FORMATS: dict[str, Format] = {
    'onnx': Onnx(),
    'torchscript': TorchScript(),
    'exported-program': ExportedProgram(),
    'openvino': OpenVINO(),
    'ncnn': Ncnn(),
    'litert': LiteRT(),
    'executorch': ExecuTorch(),
}


def format_of(path: Path) -> str:
    """The format of a file, by its name.

    Raises:
        InputError: It ends in no format's suffix.
    """
    for name, one in FORMATS.items():
        if path.name.endswith(one.suffix):
            return name
    raise InputError(f'{path}: the name of a file of `mobileode export` ends in '
                     f'{", ".join(one.suffix for one in FORMATS.values())}')


def check_able(file_format: str, with_nms: bool, dynamic: str) -> None:
    """InputError with the reason where a format does not exist or cannot do what is asked of it."""
    if file_format not in FORMATS:
        raise InputError(f'--format {file_format} is none of {", ".join(FORMATS)}, web')
    if dynamic not in DYNAMIC:
        raise InputError(f'--dynamic {dynamic} is none of {", ".join(DYNAMIC)}')
    one = FORMATS[file_format]
    if with_nms and one.why_no_nms:
        able = ' and '.join(name for name, other in FORMATS.items() if not other.why_no_nms)
        raise InputError(f'--with-nms is for --format {able}, not {file_format}: {one.why_no_nms}. Leave it out; '
                         '`mobileode run` does it behind the file')
    if dynamic not in one.free:
        raise InputError(f'--format {file_format} --dynamic {dynamic}: {one.why_fixed}')


def require(file_format: str, packages: Sequence[str]) -> None:
    """InputError where one of the packages that a format needs is not installed."""
    one = FORMATS[file_format]
    missing = one.missing([*dict.fromkeys(packages)])
    if missing:
        how = (f'make install-{one.extra}, which makes an environment of its own, as its versions are not ours'
               if one.own_environment else f'pip install "mobileode-mm[{one.extra}]"')
        raise InputError(f'--format {file_format} needs {" and ".join(missing)}: {how}')


def needed(file_format: str, int8: bool, custom_ops: bool = False) -> None:
    """InputError where something that an export needs is not installed."""
    one = FORMATS[file_format]
    require(file_format, [*one.writes_with, *one.runs_with])
    if int8 and file_format != 'onnx':
        raise InputError('--int8 is for --format onnx')
    if custom_ops:
        if one.operator is None:
            able = ' and '.join(name for name, other in FORMATS.items() if other.operator)
            raise InputError(f'--custom-ops is for --format {able}')
        if not hasattr(torch.onnx, 'ops'):
            raise InputError(f'--custom-ops needs torch 2.8 or later, and torch {torch.__version__} is installed')
        require_compiler()
        one.compiler_flags()


@torch.no_grad()
def write(task: Task, example: Tensor, dynamic: str, file_format: str, path: Path, metadata: dict[str, str],
          library: Path | None = None) -> None:
    """Write a task into a file of a format, which may need a library of operators: :meth:`Format.write`."""
    FORMATS[file_format].with_library(library).write(task, example, dynamic, path, metadata)


def load(path: Path, file_format: str, threads: int = 0, library: Path | None = None) -> Run:
    """A function that runs a file, which may need a library of operators: :meth:`Format.load`."""
    return FORMATS[file_format].with_library(library).load(path, threads)


def onnx_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself."""
    return FORMATS['onnx'].metadata(path)
