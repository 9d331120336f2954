"""``compile`` in a config: the parts of a network compiled in place by torch.compile."""

import inspect
from collections.abc import Iterator
from types import MethodType

import torch
from torch import nn

from ..errors import InputError

_ARGUMENTS = tuple(inspect.signature(torch.compile).parameters)[1:]  # all but the model
_SWITCHES = dict(fullgraph=(True, False), dynamic=(True, False, None), disable=(True, False))


def compile_options(value: bool | dict | None) -> dict | None:
    """Arguments of ``torch.compile`` that a config's ``compile`` stands for; None where nothing is to be compiled.

    Args:
        value: True takes torch's defaults, False and None compile nothing, a dict holds ``torch.compile``'s own
            arguments: ``backend``, ``mode``, ``fullgraph``, ``dynamic``, ``options``, ``disable``.

    Raises:
        InputError: It is none of these, or an argument's name or value is not one that torch takes.
    """
    if value is None or isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict):
        raise InputError(f'compile is {value!r}: True, False, or a dict of torch.compile\'s arguments is wanted')
    for name, given in value.items():
        if name not in _ARGUMENTS:
            raise InputError(f'compile.{name}: torch.compile has no such argument; it has {", ".join(_ARGUMENTS)}')
        if name in _SWITCHES and not any(given is legal for legal in _SWITCHES[name]):
            raise InputError(f'compile.{name} is {given!r}; legal: {", ".join(map(str, _SWITCHES[name]))}')
    if value.get('disable'):
        return None
    if _reason_against(lambda: torch.compile(_probe)) is None:
        # Nothing is compiled yet, but torch looks its arguments up.
        fault = _reason_against(lambda: torch.compile(_probe, **value))
        if fault is not None:
            raise InputError(f'compile={dict(value)} cannot be used: {fault}')
    return dict(value)


def compile_network(model: nn.Module, options: dict) -> str:
    """Compile backbone, neck and heads of an OpenMMLab model in place, or nothing where torch cannot compile here.

    Each part gets a compiled ``forward`` of its own, which training, validation and testing all run through; names in
    the state dict stay as they are. Data preprocessing, losses, post-processing and the optimizer's step stay eager.

    MMEngine's Runner knows the key too, but compiles ``train_step`` alone: validation and testing stay eager, and the
    graph takes in the loss's matching, logging and the optimizer, where it breaks at every ``.item()`` and is compiled
    again for every number of boxes. ``nn.Module.compile`` would not do either: mmseg's heads are run by ``forward``,
    past ``__call__``.

    Args:
        model: The model, not wrapped, on its device.
        options: From :func:`compile_options`.

    Returns:
        A line for the log: what is compiled, or why nothing is.
    """
    fault = fault_of_compiler(next(model.parameters()).device, **options)
    if fault is not None:
        return f'Nothing is compiled, the network runs eagerly: torch.compile does not work here ({fault})'
    names = []
    for name, part in _parts(model):
        # Bound to the part, so that a deep copy (of an EMA hook) runs its own weights.
        part.forward = MethodType(torch.compile(type(part).forward, **options), part)
        names.append(name)
    return f'Compiled on their first batches, which take long: {", ".join(names)}'


def fault_of_compiler(device: torch.device, **options) -> str | None:
    """First line of what ``torch.compile(**options)`` raises on this device; None where it works."""
    return _reason_against(lambda: torch.compile(_probe, **options)(torch.ones(8, device=device)))


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Children that a model calls: all but the data preprocessor, and the members of lists."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f'{name}.{number}', member) for number, member in enumerate(child))
        elif name != 'data_preprocessor':
            yield name, child


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1


def _reason_against(attempt) -> str | None:
    """First line of what ``attempt()`` raises; None where it succeeds."""
    try:
        attempt()
    except Exception as error:  # torch's compilers raise errors of every kind
        return (str(error) or type(error).__name__).splitlines()[0]
    return None
