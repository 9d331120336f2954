"""One call of each Triton kernel under NVIDIA's compute-sanitizer: memory that is not theirs, races in shared memory.

``python -m benchmarks.gpu_parts.sanitizer CALL`` is what runs under it.
"""
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from . import parity
from .part import Case, Plan, table_of

TITLE = 'compute-sanitizer'
TOOLS = ('memcheck', 'racecheck')
#: Exit status of the sanitizer where it finds something.
FOUND = 9
#: Kernels by the calls that launch all of them. The batch of the second is too large for one tile.
CALLS: dict[str, tuple[Callable, parity.Shape, str, str]] = {
    'infer': (parity.infer, parity.Shape(3, 12, 24, 3, 5, 2), 'position', 'infer'),
    'train, position norm, streamed': (parity.train, parity.Shape(64, 12, 24, 2, 3, 6), 'position',
                                       'position_forward_streamed, position_backward'),
    'train, position norm, resident': (parity.train, parity.Shape(3, 24, 12, 3, 5, 3), 'position',
                                       'position_forward_resident, position_backward'),
    'train, channel norm': (parity.train, parity.Shape(3, 12, 24, 3, 5, 6), 'channel',
                            'channel_forward, channel_states, channel_backward'),
}
_DRY = parity.Shape(5, 3, 4, 1, 1, 1)


def cases(plan: Plan) -> Iterator[Case]:
    """Every call under every tool; in a dry run, and where there is no compute-sanitizer, the call alone."""
    found = None if plan.is_dry else _sanitizer()
    for tool in TOOLS if found else ('absent',):
        for name, (_, _, _, kernels) in CALLS.items():
            run = functools.partial(_under, found, tool, name, plan) if found else functools.partial(_alone, name, plan)
            yield Case(f'{name}: {tool}', lambda run=run, kernels=kernels: dict(kernels=kernels, **run()),
                       group=f'{name} {tool}')


def markdown(rows: list[dict]) -> str:
    """What each tool says."""
    return table_of(rows, {'kernels': 'kernels', 'result': 'result'})


def call(name: str, device: torch.device, is_dry: bool) -> None:
    """Make one of :data:`CALLS`, in half precision."""
    check, shape, kind, _ = CALLS[name]
    check(parity.make(_DRY if is_dry else shape, kind, torch.float16, device), kind)
    if device.type == 'cuda':
        torch.cuda.synchronize()


def _sanitizer() -> str | None:
    places = [os.environ.get('CUDA_HOME', ''), '/usr/local/cuda', '/opt/cuda']
    beside = [str(Path(place, 'bin', 'compute-sanitizer')) for place in places if place]
    return next(filter(None, map(shutil.which, ['compute-sanitizer', *beside])), None)


def _under(sanitizer: str, tool: str, name: str, plan: Plan) -> dict:
    # Without torch's cache of memory each tensor has an allocation of its own, beyond which the tool sees.
    done = subprocess.run(
        [sanitizer, '--tool', tool, '--error-exitcode', str(FOUND), '--report-api-errors', 'no', sys.executable, '-m',
         'benchmarks.gpu_parts.sanitizer', name],
        capture_output=True, text=True, timeout=max(1.0, plan.seconds_left()),
        env={**os.environ, 'PYTORCH_NO_CUDA_MEMORY_CACHING': '1'})
    print(f'{name}, {tool}:\n{done.stdout}{done.stderr}', flush=True)
    summary = re.findall(r'(?:ERROR|RACECHECK) SUMMARY: (.*)', done.stdout + done.stderr)
    result = summary[-1] if summary else 'no summary'
    fault = {0: None, FOUND: f'{tool} found: {result}'}.get(done.returncode, f'it ended with status {done.returncode}')
    return dict(result=result, error=fault)


def _alone(name: str, plan: Plan) -> dict:
    call(name, plan.device, plan.is_dry)
    return dict(result='not checked: there is no compute-sanitizer here; the call runs')


if __name__ == '__main__':
    call(sys.argv[1], torch.device('cuda:0'), False)
