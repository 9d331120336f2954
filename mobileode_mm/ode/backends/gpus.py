"""The GPUs that have run the Triton kernels: the table ``gpus.json``, which ``mobileode gpu`` measures (docs/gpu.md).

An entry, by architecture::

    "sm_90": {
        "device": "...", "machine": "...", "commit": "...",        where and with what it was measured
        "kernels": "0123456789ab",                                 checksum() of the kernels that ran
        "is_correct": true,                                        every result agreed with the reference
        "over_operators": {"infer float16": 0.4, ...},             time over that of the faster of torch's operators,
                                                                   eager and compiled
        "blocks": {"infer": {"half 16x32": {"BLOCK": 64, "num_warps": 4}}}         see triton_blocks.py
    }

Nothing here imports Triton.
"""

import functools
import hashlib
import importlib.util
import json
from pathlib import Path

import torch

from ..tracing import assume_constant_result

TABLE = Path(__file__).with_name('gpus.json')
#: What computes on a GPU; a change of it makes entries of before worthless.
SOURCES = ('triton_kernels.py', 'triton_operators.py')


@functools.cache
def table() -> dict[str, dict]:
    """The entries by architecture."""
    return json.loads(TABLE.read_text(encoding='utf-8'))


@functools.cache
def checksum() -> str:
    """Of the kernels as they are now."""
    return hashlib.sha256(b''.join(TABLE.with_name(name).read_bytes() for name in SOURCES)).hexdigest()[:12]


@functools.cache
def architecture(index: int | None) -> str:
    """``sm_90`` of a CUDA device, ``gfx942`` of a ROCm one; '' without an index, for a CPU."""
    if index is None:
        return ''
    if torch.version.hip:
        return torch.cuda.get_device_properties(index).gcnArchName.partition(':')[0]
    return 'sm_{}{}'.format(*torch.cuda.get_device_capability(index))


def kind_of_call(is_training: bool, dtype: torch.dtype) -> str:
    """Key of ``over_operators``: ``'infer float16'``."""
    return f'{"train" if is_training else "infer"} {str(dtype).removeprefix("torch.")}'


def against_all() -> str | None:
    """Why the backend ``'auto'`` takes Triton for no call of this process; None where it may."""
    if not table():
        return 'no GPU has run the kernels yet (docs/gpu.md)'
    if not torch.cuda.is_available():
        return 'torch finds no GPU'
    return None if importlib.util.find_spec('triton') else 'Triton is not installed'


@assume_constant_result
def against(index: int, is_training: bool, dtype: torch.dtype) -> str | None:
    """Why the backend ``'auto'`` does not take Triton for a call on this GPU; None where it does.

    Args:
        index: Of the GPU.
        is_training: Whether the statistics are the batch's.
        dtype: What x is stored in.
    """
    return against_entry(architecture(index), kind_of_call(is_training, dtype), table())


def against_entry(name: str, call: str, entries: dict[str, dict]) -> str | None:
    """Why a table does not let Triton compute a kind of call on an architecture; None where it does."""
    entry = entries.get(name)
    if entry is None:
        return f'{name} has not run the kernels yet; measured are {", ".join(entries) or "none"}'
    if entry.get('kernels') != checksum():
        return f'the kernels are others than those that {name} ran'
    if not entry.get('is_correct'):
        return f'the kernels gave wrong numbers on {name}'
    ratio = entry.get('over_operators', {}).get(call)
    if ratio is None:
        return f'{call} has not been measured on {name}'
    return None if ratio < 1 else f'{call} takes {ratio:.2f} of the time of torch\'s operators on {name}'


def blocks(name: str) -> dict[str, dict[str, dict[str, int]]]:
    """Tuned blocks of an architecture: by kernel, then by type and padded sides."""
    return table().get(name, {}).get('blocks', {})


def describe() -> str:
    """What the backend ``'auto'`` takes on this machine's GPUs, for the doctor."""
    reason = against_all()
    if reason is not None:
        return f"torch's operators: {reason}"
    lines = []
    for index in range(torch.cuda.device_count()):
        name = architecture(index)
        calls = table().get(name, {}).get('over_operators', {})
        taken = [call for call in calls if against_entry(name, call, table()) is None]
        declined = {against_entry(name, call, table()) for call in calls if call not in taken}
        if not calls:
            declined = {against_entry(name, '', table())}
        parts = [f'Triton for {", ".join(taken)}'] * bool(taken) + [
            f"torch's operators: {'; '.join(sorted(filter(None, declined)))}"] * bool(declined)
        lines.append(f'{name}: {"; ".join(parts)}')
    return ', '.join(dict.fromkeys(lines))
