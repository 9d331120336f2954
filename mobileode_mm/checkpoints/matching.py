"""Does a checkpoint file fit a network?"""
import re
from pathlib import Path

from torch import Tensor, nn

from ..errors import InputError, listed
from ..ode import PositionNorm, StepStatistics
from .reading import read_checkpoint, state_dict_of

#: Share of a part's entries that must match.
ENOUGH = 0.95


def check_checkpoint(model: nn.Module, checkpoint: dict, path: str | Path, purpose: str) -> list[str]:
    """Compare a checkpoint's entries with those of a network.

    Grids of position norms may differ in size: these are resampled when they are loaded.

    Args:
        model: The network that the checkpoint is for.
        checkpoint: As :func:`read_checkpoint` returns it.
        path: Its name, for messages.
        purpose: ``'finetune'``: the backbone must match. ``'test'``: each part of the network must.
            ``'resume'``, ``'publish'``: all entries must, to the last and in the same size, and there are no others.

    Returns:
        Lines on what is no error: entries that do not match, and weights that hold NaN.

    Raises:
        InputError: Fewer than 95 % of the entries of a part that must match do. The message lists what does
            not.
    """
    state = state_dict_of(checkpoint)
    comparison = _Comparison(model, state, purpose not in ('resume', 'publish'), purpose == 'finetune')
    problems = comparison.describe()
    fault = not_numbers(checkpoint)
    notes = [f'{path}: {fault}'] if fault else []
    notes += comparison.notes(path)
    if not problems:
        return notes
    if purpose in ('resume', 'publish'):
        raise InputError('\n'.join([f'{path} is a checkpoint of another network than that of the config', *problems]))
    for part, (matched, total) in comparison.parts().items():
        if matched < ENOUGH * total and (purpose == 'test' or part in ('backbone', '')):
            raise InputError('\n'.join([
                f'{path} is a checkpoint of another network: {matched} of {total} entries of '
                f'{part or "the network"} match', *problems]))
    return [*notes, f'{path} does not match in all entries; those that do not keep their initial values', *problems]


def not_numbers(checkpoint: dict) -> str | None:
    """A line on the weights that hold NaN, as those of a training that diverged; None where none do."""
    state = state_dict_of(checkpoint)
    names = names_with_nan(state)
    return f'{len(names)} of its {len(state)} entries hold NaN: {listed(names)}' if names else None


def names_with_nan(state: dict) -> list[str]:
    """Entries of a state dict that hold NaN."""
    return [name for name, value in state.items()
            if isinstance(value, Tensor) and value.is_floating_point() and value.double().isnan().any()]


def check_pretrained(model: nn.Module, trust: bool = False) -> list[str]:
    """Check the files that ``init_cfg=dict(type='Pretrained', ...)`` names anywhere in a network.

    Args:
        model: The network.
        trust: As for :func:`read_checkpoint`.

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
            state = state_dict_of(read_checkpoint(path, trust))
            if prefix:
                prefix = f'{prefix.rstrip(".")}.'
                state = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
            comparison = _Comparison(module, state, resample=True, fill=True)
            problems = comparison.describe()
            matched, total = comparison.whole()
            if matched < ENOUGH * total:
                after = f' after the prefix {prefix}' if prefix else ''
                raise InputError('\n'.join([
                    f'{path} is a checkpoint of another network: {matched} of {total} entries of '
                    f'{name or "the network"} match{after}', *problems]))
            notes += [f'{path} into {name or "the network"}: {comparison.summary()}', *problems]
            notes += comparison.notes(path)
    return notes


class _Comparison:
    """Entries of a network beside those of a state dict, without the counters of batch norms.

    Args:
        model: The network.
        state: The state dict's entries.
        resample: Whether grids of another size match.
        fill: Whether a state dict without statistics for other numbers of steps matches, from which a training of a
            network that has some can begin.
    """

    def __init__(self, model: nn.Module, state: dict[str, Tensor], resample: bool, fill: bool):
        grids = {f'{name}.{grid}'.lstrip('.') for name, module in model.named_modules()
                 if isinstance(module, PositionNorm) for grid in module.grids()}
        self.filled = tuple(f'{name}.' for name, module in model.named_modules()
                            if fill and isinstance(module, StepStatistics)
                            and not any(key.startswith(f'{name}.') for key in state))
        self.wanted = {name: value for name, value in model.state_dict().items()
                       if isinstance(value, Tensor) and not name.endswith('num_batches_tracked')
                       and not name.startswith(self.filled)}
        known = model.state_dict().keys()
        self.missing = [name for name in self.wanted if name not in state]
        self.unexpected = [name for name in state
                           if name not in known and not name.endswith('num_batches_tracked')]
        self.different = [name for name, value in self.wanted.items() if name in state
                          and getattr(state[name], 'shape', None) != value.shape
                          and not (resample and name in grids and isinstance(state[name], Tensor)
                                   and state[name].dim() == 2)]
        unmatched = {*self.missing, *self.different}
        self.resampled = [name for name in grids
                          if name in self.wanted and name not in unmatched
                          and state[name].shape != self.wanted[name].shape]
        self.state = state

    def summary(self) -> str:
        """How many entries are loaded, resampled, missing, unexpected."""
        return (f'{self.whole()[0]} loaded, {len(self.resampled)} of them resampled, {len(self.missing)} missing, '
                f'{len(self.unexpected)} unexpected, {len(self.different)} of another shape')

    def notes(self, path: str | Path) -> list[str]:
        """What is no difference, but worth knowing."""
        notes = []
        if self.filled:
            notes.append(f'{path} is of a network for one number of steps: the statistics of {len(self.filled)} norms '
                         'for other numbers begin with its own')
        idle = {re.search(r'\.statistics\.(\d+)\.num_batches_tracked$', name) for name, value in self.state.items()
                if name.endswith('num_batches_tracked') and not value.any()}
        numbers = sorted({match[1] for match in idle if match})
        if numbers:
            notes.append(f'{path}: no iteration of its training took {", ".join(numbers)} steps; was it without '
                         'AnytimeHook?')
        return notes

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
