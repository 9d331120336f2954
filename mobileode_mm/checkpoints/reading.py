"""Reading a checkpoint file, whoever asks for it, without running code that it may hold."""
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader, get_external_models, get_torchvision_models
from torch import Tensor

from ..errors import InputError
from .archives import Unusable, read_archive
from .fetching import fetch, file_name
from .unpickling import ForeignObject

#: Addresses that MMEngine's configs use for weights on the web, and its tables of them.
_TABLES = {'torchvision': get_torchvision_models, 'open-mmlab': get_external_models, 'openmmlab': get_external_models}

#: What parallel wrappers put before the names of weights.
_WRAPPER = 'module.'

#: Length to which a text from a file is shown in a message.
_SHOWN = 300


def read_checkpoint(path: str | Path, trust: bool = False) -> dict:
    """Read a checkpoint without running code that it may contain.

    Tensors, plain values, NumPy arrays of numbers and MMEngine's log histories are read; a file with other objects is
    refused. Weights in a ``.safetensors`` file are read as well. Reading takes memory in proportion to the file.
    Weights that were saved out of ``DataParallel`` or ``DistributedDataParallel`` lose its ``module.`` before their
    names.

    Args:
        path: The file; or its http(s) URL, ``torchvision://name`` or ``open-mmlab://name``, which is fetched once into
            the folder of ``torch.hub``.
        trust: Read any objects, and so run any code that the file holds; of a whole network the weights are taken.

    Raises:
        InputError: The file is absent, torn, no checkpoint, or holds other objects.
    """
    path = os.path.expanduser(path)
    if '://' in path:
        path = _fetched(path)
    checkpoint = _read_safetensors(path) if path.endswith('.safetensors') else read_file(path, trust)
    if isinstance(checkpoint, torch.nn.Module):  # a whole network, which trust alone lets through
        checkpoint = checkpoint.state_dict()
    if not isinstance(checkpoint, dict) or not state_dict_of(checkpoint):
        raise InputError(f'{shown(path)} holds no weights{_elsewhere(checkpoint)}')
    _check_content(checkpoint, path)
    return _unwrapped(checkpoint)


def read_file(path: str | Path, trust: bool = False):
    """What a file of ``torch.save`` holds, whatever that is; else as :func:`read_checkpoint`."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        files = sorted(Path(path).glob('*.pth'), key=os.path.getmtime) if os.path.isdir(path) else ()
        newest = f'; the newest of the folder is {shown(files[-1])}' if files else ''
        raise InputError(f'there is no checkpoint file {shown(path)}{newest}')
    try:
        return torch.load(path, map_location='cpu', weights_only=False) if trust else read_archive(path)
    except Unusable as error:
        raise InputError(f'{shown(path)} is not read: {error}; save its weights by torch.save') from error
    except ForeignObject as error:
        raise InputError(
            f'{shown(path)} is not read: besides weights it holds {shown(error)}, and reading such objects can run any '
            'code. If you trust where it comes from, --trust-checkpoint reads it all the same (in Python trust=True)'
        ) from error
    except Exception as error:  # of many types, for files that are cut short or of another kind
        raise InputError(f'{shown(path)} is no checkpoint, or a torn one ({_first_sentence(error)})') from error


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """The weights in a checkpoint; empty where there are none."""
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        return {}
    return state


def _elsewhere(checkpoint) -> str:
    """Where the weights of a checkpoint are that has them under other names than MMEngine's; empty where nowhere."""
    names = [name for name, value in checkpoint.items() if isinstance(value, dict) and any(
        isinstance(one, Tensor) for one in value.values())] if isinstance(checkpoint, dict) else []
    if not names:
        return ''
    return shown(f' in the place of state_dict, but under {", ".join(map(repr, names))}; save those alone, as '
                 f'torch.save(torch.load(FILE)[{names[0]!r}], OTHER_FILE)')


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


def shown(text) -> str:
    """A text from a file, for a message: on one line, its end left out where it is long."""
    text = ''.join(character if character.isprintable() else repr(character)[1:-1] for character in str(text)[:_SHOWN])
    return text if len(text) < _SHOWN else f'{text[:_SHOWN]}...'


def _unwrapped(checkpoint: dict) -> dict:
    """A checkpoint without the ``module.`` of a parallel wrapper before the names of its weights."""
    state = state_dict_of(checkpoint)
    if not any(name.startswith(_WRAPPER) for name in state):
        return checkpoint
    renamed = type(state)((name.removeprefix(_WRAPPER), value) for name, value in state.items())
    if hasattr(state, '_metadata'):
        # The versions of modules, by which some of them read older weights; the wrapper's own entry goes.
        renamed._metadata = {name.removeprefix(_WRAPPER): entry for name, entry in state._metadata.items()
                             if name != 'module' and name} | {'': state._metadata.get('module', {})}
    return {**checkpoint, 'state_dict': renamed} if state is not checkpoint else renamed


def _check_content(checkpoint: dict, path: str) -> None:
    """InputError where what every reader of a checkpoint relies on is of another type."""
    def refuse(what: str):
        raise InputError(f'{shown(path)} is no checkpoint that can be used: {what}')

    if not all(isinstance(name, str) and name.isprintable() for name in (*checkpoint, *state_dict_of(checkpoint))):
        refuse('it names weights by something else than text')
    metadata = getattr(state_dict_of(checkpoint), '_metadata', {})
    if not isinstance(metadata, dict) or not all(
            isinstance(entry, dict) and isinstance(entry.get('version', 0), (int, type(None)))
            for entry in metadata.values()):
        refuse('the versions of its modules are none')
    if checkpoint.get('meta', {}) is None:
        checkpoint['meta'] = {}
    meta = checkpoint.get('meta', {})
    dataset = meta.get('dataset_meta') or {} if isinstance(meta, dict) else {}
    for name, value in (('meta', meta), ('meta.dataset_meta', dataset)):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            refuse(f'its {name} is no dict of names')
    for name, value in dataset.items():
        if name.lower() == 'classes' and not (
                isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value)):
            refuse('its classes are no list of names')
    for name in ('epoch', 'iter', 'seed'):
        value = meta.get(name, 0)
        if not (isinstance(value, Integral) and 0 <= value < 2**53 or value is None and name == 'seed'):
            refuse(f'its meta.{name} is {shown(value)}')


def _fetched(address: str) -> str:
    """The local copy of what an address names."""
    scheme, name = address.split('://', 1)
    url = address
    if scheme in _TABLES:
        url = _TABLES[scheme]().get(name)
        if url is None:
            raise InputError(f'{shown(address)}: MMEngine knows no weights of this name')
    elif scheme not in ('http', 'https'):
        raise InputError(f'{shown(address)} is not read: of addresses only http, https, torchvision:// and '
                         'open-mmlab:// are. Bring the file here by other means, and name it')
    # In a folder of its own: many addresses end in the same name.
    folder = Path(torch.hub.get_dir(), 'checkpoints', hashlib.sha256(url.encode(errors='replace')).hexdigest()[:16])
    file = folder / (file_name(url) or 'checkpoint')
    if not file.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f'{shown(url)} cannot be fetched into {folder}: {error.strerror}') from error
        fetch(url, file)
    return str(file)


def _read_safetensors(path: str) -> dict:
    if not os.path.isfile(path):
        raise InputError(f'there is no checkpoint file {shown(path)}')
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise InputError(f'{path} needs safetensors: pip install safetensors') from error
    try:
        with safe_open(path, framework='pt') as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
    except (SafetensorError, ValueError, RecursionError, RuntimeError) as error:
        raise InputError(f'{shown(path)} is no safetensors file, or a torn one ({_first_sentence(error)})') from error
    return dict(state_dict=state, meta=meta)


def _first_sentence(error: Exception) -> str:
    text = str(error).strip("'")
    return shown(text.split('. ')[0].splitlines()[0] if text else type(error).__name__)
