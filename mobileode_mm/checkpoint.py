"""Does a checkpoint file fit a network? And which checkpoint does a stopped run go on from?"""
import json
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .errors import InputError, listed
from .ode import PositionNorm

#: Share of a part's entries that must match.
ENOUGH = 0.95


def read_checkpoint(path: str | Path, trust: bool = False) -> dict:
    """Read a checkpoint without running code that it may contain.

    Tensors, plain values, NumPy arrays and MMEngine's log histories are read; a file with other objects is
    refused. Weights in a ``.safetensors`` file are read as well.

    Args:
        path: The file, or a URL.
        trust: Read any objects, and so run any code that the file holds.

    Raises:
        InputError: The file is absent, torn, no checkpoint, or holds other objects.
    """
    path = str(path)
    if '://' in path:
        try:
            return CheckpointLoader.load_checkpoint(path, map_location='cpu')
        except Exception as error:
            raise InputError(f'the checkpoint {path} cannot be fetched: {error}') from error
    path = os.path.expanduser(path)
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
            'you trust where it comes from, save its state_dict alone with torch.save; tools/infer.py reads it with '
            '--trust-checkpoint') from error
    except Exception as error:  # torch raises many types for files that are cut short or of another kind
        raise InputError(f'{path} is no checkpoint, or a torn one ({_first_sentence(error)})') from error
    if not isinstance(checkpoint, dict) or not state_dict_of(checkpoint):
        raise InputError(f'{path} holds no weights')
    return checkpoint


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


def check_checkpoint(model: nn.Module, checkpoint: dict, path: str | Path, purpose: str) -> list[str]:
    """Compare a checkpoint's entries with those of a network.

    Grids of position norms may differ in size: these are resampled when they are loaded.

    Args:
        model: The network that the checkpoint is for.
        checkpoint: As :func:`read_checkpoint` returns it.
        path: Its name, for messages.
        purpose: ``'finetune'``: the backbone must match. ``'test'``: each part of the network must.
            ``'resume'``: all entries must, to the last and in the same size, and there are no others.

    Returns:
        Lines on what does not match but is no error.

    Raises:
        InputError: Fewer than 95 % of the entries of a part that must match do. The message lists what does
            not.
    """
    state = {re.sub(r'^module\.', '', name): value for name, value in state_dict_of(checkpoint).items()}
    comparison = _Comparison(model, state, resample=purpose != 'resume')
    problems = comparison.describe()
    if not problems:
        return []
    if purpose == 'resume':
        raise InputError('\n'.join([f'{path} is a checkpoint of another network than that of the run', *problems]))
    for part, (matched, total) in comparison.parts().items():
        if matched < ENOUGH * total and (purpose == 'test' or part in ('backbone', '')):
            raise InputError('\n'.join([
                f'{path} is a checkpoint of another network: {matched} of {total} entries of '
                f'{part or "the network"} match', *problems]))
    return [f'{path} does not match in all entries; those that do not keep their initial values', *problems]


def check_pretrained(model: nn.Module) -> list[str]:
    """Check the files that ``init_cfg=dict(type='Pretrained', ...)`` names anywhere in a network.

    Returns:
        For each file a line on how many entries are loaded, resampled, missing and unexpected, and lines that list what
        does not match.

    Raises:
        InputError: Fewer than 95 % of the entries of the part that names the file match.
    """
    notes = []
    for name, module in model.named_modules():
        init_cfgs = getattr(module, 'init_cfg', None) or []
        for init_cfg in init_cfgs if isinstance(init_cfgs, (list, tuple)) else [init_cfgs]:
            if init_cfg.get('type') != 'Pretrained' or not init_cfg.get('checkpoint'):
                continue
            path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix')
            state = state_dict_of(read_checkpoint(path))
            state = {re.sub(r'^module\.', '', key): value for key, value in state.items()}
            if prefix:
                prefix = f'{prefix.rstrip(".")}.'
                state = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
            comparison = _Comparison(module, state, resample=True)
            problems = comparison.describe()
            matched, total = comparison.whole()
            if matched < ENOUGH * total:
                after = f' after the prefix {prefix}' if prefix else ''
                raise InputError('\n'.join([
                    f'{path} is a checkpoint of another network: {matched} of {total} entries of '
                    f'{name or "the network"} match{after}', *problems]))
            notes += [f'{path} into {name or "the network"}: {comparison.summary()}', *problems]
    return notes


def find_resume_checkpoint(*folders: str | Path) -> tuple[str | None, list[str]]:
    """The whole checkpoint that a run goes on from.

    That is the one that ``last_checkpoint`` names, if it is whole; else the newest whole ``epoch_*.pth`` or
    ``iter_*.pth``.

    Args:
        folders: The work dir, and where its checkpoints lie if that is elsewhere.

    Returns:
        The path, None where there is no checkpoint at all, and lines for the log.

    Raises:
        InputError: There are checkpoints, but none is whole.
    """
    marker = Path(folders[0], 'last_checkpoint')
    named = marker.read_text().strip() if marker.is_file() else ''
    # A work dir that was moved or copied holds the file itself; what the path names may be another run's by now.
    candidates = [*(Path(folder, Path(named).name) for folder in folders), Path(named)] if named else []
    candidates += numbered_checkpoints(*folders)
    faults = []
    for path in dict.fromkeys(candidates):
        if not path.is_file():
            continue
        try:
            meta = read_checkpoint(path).get('meta', {})
        except InputError as error:
            faults.append(str(error))
            continue
        if 'epoch' not in meta or 'iter' not in meta:
            faults.append(f'{path} does not say which iteration it is of')
            continue
        if faults or named and path.name != Path(named).name:
            reason = faults[0] if faults else f'{named}, named by last_checkpoint, does not exist'
            return str(path), [f'{reason}; resuming from {path} instead']
        return str(path), []
    if faults:
        raise InputError(f'nothing to resume in {folders[0]}: {"; ".join(faults)}. Start anew in another --work-dir')
    return None, [f'{folders[0]} holds no checkpoint to resume: starting anew']


def numbered_checkpoints(*folders: str | Path) -> list[Path]:
    """``epoch_*.pth`` and ``iter_*.pth`` in these folders, the latest first."""
    families = {}
    for folder in dict.fromkeys(map(Path, folders)):
        for path in folder.glob('*.pth'):
            match = re.fullmatch(r'(epoch|iter)_(\d+)\.pth', path.name)
            if match:
                families.setdefault((folder, match[1]), []).append((int(match[2]), path))
    # Within a family the number tells the age, whatever was copied when.
    ordered = [sorted(family, reverse=True) for family in families.values()]
    ordered.sort(key=lambda family: family[0][1].stat().st_mtime, reverse=True)
    return [path for family in ordered for _, path in family]


class _Comparison:
    """Entries of a network beside those of a state dict, without the counters of batch norms."""

    def __init__(self, model: nn.Module, state: dict[str, Tensor], resample: bool):
        grids = {f'{name}.{grid}'.lstrip('.') for name, module in model.named_modules()
                 if isinstance(module, PositionNorm) for grid in PositionNorm.GRIDS}
        self.wanted = {name: value for name, value in model.state_dict().items()
                       if isinstance(value, Tensor) and not name.endswith('num_batches_tracked')}
        known = model.state_dict().keys()
        self.missing = [name for name in self.wanted if name not in state]
        self.unexpected = [name for name in state
                           if name not in known and not name.endswith('num_batches_tracked')]
        self.different = [name for name, value in self.wanted.items() if name in state
                          and getattr(state[name], 'shape', None) != value.shape
                          and not (resample and name in grids and state[name].dim() == 2)]
        unmatched = {*self.missing, *self.different}
        self.resampled = [name for name in grids
                          if name not in unmatched and state[name].shape != self.wanted[name].shape]
        self.state = state

    def summary(self) -> str:
        """How many entries are loaded, resampled, missing, unexpected."""
        return (f'{self.whole()[0]} loaded, {len(self.resampled)} of them resampled, {len(self.missing)} missing, '
                f'{len(self.unexpected)} unexpected, {len(self.different)} of another shape')

    def whole(self) -> tuple[int, int]:
        """Number of matching entries, and of entries."""
        return len(self.wanted) - len(self.missing) - len(self.different), len(self.wanted)

    def parts(self) -> dict[str, tuple[int, int]]:
        """The same for each part of a network with a backbone; under '' for the whole of another."""
        if not any(name.startswith('backbone.') for name in self.wanted):
            return {'': self.whole()}
        unmatched = {*self.missing, *self.different}
        counts = {}
        for name in self.wanted:
            part = name.split('.', 1)[0]
            matched, total = counts.get(part, (0, 0))
            counts[part] = matched + (name not in unmatched), total + 1
        return counts

    def describe(self) -> list[str]:
        """Lines that list what does not match."""
        shapes = {name: tuple(getattr(self.state[name], 'shape', ())) for name in self.different}
        different = [f'{name} {shape} instead of {tuple(self.wanted[name].shape)}' for name, shape in shapes.items()]
        return [f'  {len(names)} {kind}: {listed(names)}' for kind, names in (
            ('missing', self.missing), ('unexpected', self.unexpected), ('of another shape', different)) if names]


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """The weights in a checkpoint; empty where there are none."""
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        return {}
    return state


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
