"""One network for several numbers of steps: ``anytime`` in a backbone's config, and the choice after training."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from torch import nn

from ..errors import InputError

_KEYS = ('steps', 'take', 'distill')


class Anytime(NamedTuple):
    """What ``anytime`` of a config says.

    Attributes:
        steps: Numbers of steps that the network is trained for, rising.
        take: The one that is taken outside of training, or one for each stage with solvers.
        distill: Whether in training fewer steps also follow the features of the largest number.
    """
    steps: tuple[int, ...]
    take: int | tuple[int, ...]
    distill: bool

    @classmethod
    def of(cls, config: dict, num_steps: Collection[int]) -> 'Anytime':
        """Read it.

        Args:
            config: ``anytime`` of the backbone.
            num_steps: Of the solvers of each stage.

        Raises:
            ValueError: It has unknown keys, or ``steps`` are not different numbers up to ``num_steps``.
        """
        unknown = [key for key in config if key not in _KEYS]
        if unknown or 'steps' not in config:
            raise ValueError(f'anytime={dict(config)}: its keys are {", ".join(_KEYS)}, and steps is wanted')
        steps = config['steps']
        if not isinstance(steps, Sequence) or not all(isinstance(number, int) for number in steps) \
                or len({*steps}) < max(2, len(steps)) or min(steps) < 1:
            raise ValueError(f'anytime.steps={steps!r}: two or more different numbers of 1 or more are wanted, as in '
                             'steps=(1, 2, 3)')
        if {*num_steps} != {max(steps)}:
            raise ValueError(f'anytime.steps={tuple(steps)} and num_steps={tuple(num_steps)}: the largest of steps has '
                             'to be num_steps, the same in all stages')
        distill = config.get('distill', False)
        if not isinstance(distill, bool):
            raise ValueError(f'anytime.distill={distill!r}; legal: True, False')
        take = config.get('take')
        return cls(tuple(sorted(steps)), max(steps) if take is None else take, distill)

    def chosen(self, steps: int | Sequence[int], stages: int) -> tuple[int, ...]:
        """Numbers of steps for each of so many stages.

        Args:
            steps: One number for all, or one for each.

        Raises:
            InputError: There are more or fewer, or the network was not trained for one of them.
        """
        numbers = (steps, ) * stages if isinstance(steps, int) else tuple(steps)
        if len(numbers) != stages:
            raise InputError(f'{len(numbers)} numbers of steps ({_text(numbers)}) are given: one is wanted, or one for '
                             f'each of the {stages} stages with solvers')
        untrained = [number for number in numbers if number not in self.steps]
        if untrained:
            raise InputError(f'the network was not trained for {_text(untrained)} steps, but for {_text(self.steps)}')
        return numbers


def anytime_backbones(network: nn.Module) -> list[nn.Module]:
    """The parts of a network whose number of steps can be chosen."""
    return [module for module in network.modules() if getattr(module, 'anytime', None) is not None]


def set_steps(network: nn.Module, steps: int | Sequence[int]) -> None:
    """Choose how many steps the solvers of a network's backbone take, whatever toolbox the network is of.

    Args:
        network: Holds a backbone with ``anytime``.
        steps: As for :meth:`MobileODEV1.set_steps`.

    Raises:
        InputError: There is no such backbone, or it was not trained for this choice.
        RuntimeError: It has its deploy form, which has one number alone.
    """
    backbones = anytime_backbones(network)
    if not backbones:
        raise InputError(f'this {type(network).__name__} has one number of steps: its backbone has no '
                         'anytime=dict(steps=...) in its config')
    for backbone in backbones:
        backbone.set_steps(steps)


def _text(numbers: Sequence[int]) -> str:
    return ', '.join(map(str, numbers))
