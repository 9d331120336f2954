"""Argument checks shared by the layer and the networks built of it."""

from collections.abc import Iterable
from math import inf, isqrt


def square_side(name: str, value: int) -> int:
    """Side q of a perfect square q².

    Args:
        name: Argument to name in the message.
        value: Number that has to be a perfect square, 1 or more.

    Raises:
        ValueError: ``value`` is no perfect square; the message names the nearest ones.
    """
    if value >= 1 and isqrt(value) ** 2 == value:
        return isqrt(value)
    low = isqrt(max(value, 1))
    nearest = '1' if value < 1 else f'{low ** 2} and {(low + 1) ** 2}'
    raise ValueError(f'{name}={value} is not a perfect square; nearest legal: {nearest}')


def spread(name: str, value: float) -> None:
    """Raise ValueError unless ``value``, of the argument ``name``, is a standard deviation: finite, 0 or more."""
    if not 0 <= value < inf:
        raise ValueError(f'{name}={value} is no standard deviation; legal: finite numbers of 0 and more')


def known(name: str, value: str, legal: Iterable[str]) -> None:
    """Raise ValueError unless ``value``, of the argument ``name``, is one of the ``legal`` ones."""
    if value not in legal:
        raise ValueError(f'{name}={value!r} is unknown; legal: {", ".join(map(repr, legal))}')
