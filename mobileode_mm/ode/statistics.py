"""Running statistics of one norm for several numbers of a solver's steps."""

from collections.abc import Sequence

from torch import Tensor, nn

NAMES = ('running_mean', 'running_var', 'num_batches_tracked')


class Statistics(nn.Module):
    """Running mean and variance of a norm for one number of steps.

    Args:
        norm: Whose statistics they begin with.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: nn.Module):
        super().__init__()
        for name in NAMES:
            self.register_buffer(name, getattr(norm, name).clone())


class StepStatistics(nn.ModuleDict):
    """A norm's running statistics for each number of steps but the largest, whose own stand in the norm itself.

    Weight and bias of the norm serve all of them.

    Args:
        norm: Has running statistics.
        numbers: Of steps, without the largest.
    """

    def __init__(self, norm: nn.Module, numbers: Sequence[int]):
        super().__init__({str(number): Statistics(norm) for number in numbers})
        self._taken = ''

    def take(self, number: int) -> None:
        """From now on the norm works with the statistics of so many steps."""
        self._taken = str(number) if str(number) in self else ''

    @property
    def taken(self) -> nn.Module | None:
        """The statistics that the norm works with; None: its own."""
        return self[self._taken] if self._taken else None

    def settle(self, norm: nn.Module) -> None:
        """Make the statistics that the norm works with its own."""
        if self.taken is not None:
            norm.load_state_dict(self.taken.state_dict(), strict=False)
            self._taken = ''

    def fill(self, state_dict: dict[str, Tensor], prefix: str, own: str) -> None:
        """Let a checkpoint of a network for one number of steps have all statistics: those of the norm.

        Args:
            state_dict: The checkpoint's entries, which are added to.
            prefix: Of the names of these statistics.
            own: Of the names of the norm's.
        """
        if any(name.startswith(prefix) for name in state_dict):
            return
        for number in self:
            for name in NAMES:
                if own + name in state_dict:
                    state_dict[f'{prefix}{number}.{name}'] = state_dict[own + name]
