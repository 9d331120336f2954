"""Reading a checkpoint file, whoever asks for it, without running code that it may hold."""
import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader, get_external_models, get_torchvision_models
from torch import Tensor

from ..errors import InputError
from .fetching import fetch

#: Addresses that MMEngine's configs use for weights on the web, and its tables of them.
_TABLES = {'torchvision': get_torchvision_models, 'open-mmlab': get_external_models, 'openmmlab': get_external_models}


def read_checkpoint(path: str | Path, trust: bool = False) -> dict:
    """Read a checkpoint without running code that it may contain.

    Tensors, plain values, NumPy arrays and MMEngine's log histories are read; a file with other objects is
    refused. Weights in a ``.safetensors`` file are read as well.

    Args:
        path: The file; or its http(s) URL, ``torchvision://name`` or ``open-mmlab://name``, which is fetched once into
            the folder of ``torch.hub``.
        trust: Read any objects, and so run any code that the file holds.

    Raises:
        InputError: The file is absent, torn, no checkpoint, or holds other objects.
    """
    path = os.path.expanduser(path)
    if '://' in path:
        path = _fetched(path)
    if not os.path.isfile(path):
        raise InputError(f'there is no checkpoint file {path}')
    if path.endswith('.safetensors'):
        return _read_safetensors(path)
    try:
        with _known_globals():
            checkpoint = torch.load(path, map_location='cpu', weights_only=not trust)
    except pickle.UnpicklingError as error:
        foreign = re.search(r'GLOBAL (\S+)', str(error))
        if not foreign:
            raise InputError(f'{path} is no checkpoint, or a torn one') from error
        raise InputError(
            f'{path} is not read: besides weights it holds {foreign[1]}, and reading such objects can run any code. If '
            'you trust where it comes from, --trust-checkpoint reads it all the same (in Python trust=True)') from error
    except Exception as error:  # torch raises many types for files that are cut short or of another kind
        raise InputError(f'{path} is no checkpoint, or a torn one ({_first_sentence(error)})') from error
    if not isinstance(checkpoint, dict) or not state_dict_of(checkpoint):
        raise InputError(f'{path} holds no weights')
    return checkpoint


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """The weights in a checkpoint; empty where there are none."""
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        return {}
    return state


@contextmanager
def restricted_loading(trust: bool = False) -> Iterator[None]:
    """Let :func:`read_checkpoint` read whatever MMEngine loads: for a Runner, an ``init_cfg``, a teacher network.

    MMEngine's own loaders unpickle anything as soon as the restricted reading fails (its ``_safe_torch_load``), and
    know no ``.safetensors``.

    Args:
        trust: As for :func:`read_checkpoint`.
    """
    def load_from_file(filename, map_location=None):
        # Always into the CPU's memory: what takes the tensors over moves them.
        return read_checkpoint(filename, trust)

    # register_scheme would leave the loaders of other addresses as they are, and could not be undone.
    before = CheckpointLoader._schemes
    CheckpointLoader._schemes = {'': load_from_file}
    try:
        yield
    finally:
        CheckpointLoader._schemes = before


def _fetched(address: str) -> str:
    """The local copy of what an address names."""
    scheme, name = address.split('://', 1)
    url = address
    if scheme in _TABLES:
        url = _TABLES[scheme]().get(name)
        if url is None:
            raise InputError(f'{address}: MMEngine knows no weights of this name')
    elif scheme not in ('http', 'https'):
        raise InputError(f'{address} is not read: of addresses only http, https, torchvision:// and open-mmlab:// are. '
                         'Bring the file here by other means, and name it')
    # In a folder of its own: many addresses end in the same name.
    folder = Path(torch.hub.get_dir(), 'checkpoints', hashlib.sha256(url.encode()).hexdigest()[:16])
    file = folder / (Path(unquote(urlsplit(url).path)).name or 'checkpoint')
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        fetch(url, file)
    return str(file)


def _read_safetensors(path: str) -> dict:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise InputError(f'{path} needs safetensors: pip install safetensors') from error
    try:
        with safe_open(path, framework='pt') as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
    except (SafetensorError, ValueError) as error:
        raise InputError(f'{path} is no safetensors file, or a torn one ({error})') from error
    if not state:
        raise InputError(f'{path} holds no weights')
    return dict(state_dict=state, meta=meta)


def _first_sentence(error: Exception) -> str:
    return str(error).strip("'").split('. ')[0].splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def _known_globals() -> Iterator[None]:
    """Let torch's restricted reader meet what MMEngine writes besides tensors: log histories and NumPy
    values."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(_KNOWN_GLOBALS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _history_method(owner: type, name: str):
    # A log history pickles its own methods as getattr(HistoryBuffer, 'mean'); getattr of anything else stays
    # barred.
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr({owner}, {name})')
    return getattr(owner, name)


def _under_name(function, module: str, name: str):
    """``function`` as the pickle names it: NumPy moved its modules between versions."""
    def call(*args):
        return function(*args)
    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call


_numpy_core = getattr(np, '_core', None) or np.core
_KNOWN_GLOBALS = [
    HistoryBuffer, np.ndarray, np.dtype, _under_name(_history_method, 'builtins', 'getattr'),
    *(getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith('DType')),
    *(_under_name(getattr(_numpy_core.multiarray, name), f'numpy.{core}.multiarray', name)
      for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
]
