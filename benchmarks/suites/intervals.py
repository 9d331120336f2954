"""How far a figure, or the difference of two, may lie from what another training and other images would give."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

#: Share of intervals that hold the true value.
LEVEL = 0.95


class Interval(NamedTuple):
    """Mean over the seeds and its interval.

    Attributes:
        mean: Over the seeds.
        low, high: Bounds of the interval.
        images: Whether the images' part is in it.
    """
    mean: float
    low: float
    high: float
    images: bool


def interval(values: Sequence[float], draws: Sequence[np.ndarray | None]) -> Interval | None:
    """Interval of the mean over seeds, for new seeds and new images.

    The variance of the images is that of the mean over the draws, a bootstrap; that of the seeds is estimated from
    their spread, and Student's distribution has the degrees of freedom that Welch and Satterthwaite give for the sum. A
    bootstrap over the seeds too would be too narrow: of three it never leaves their range, and so calls one difference
    in four real where there is none.

    Args:
        values: The figure of each seed, or the difference.
        draws: For each seed its figures on the same draws of the test images. Where one has none, the interval is of
            the seeds alone.

    Returns:
        None for fewer than two seeds, which do not tell how far seeds differ.
    """
    number = len(values)
    if number < 2:
        return None
    mean = float(np.mean(values))
    of_seeds = float(np.var(values, ddof=1)) / number
    images = all(drawn is not None for drawn in draws)
    of_images = float(np.var(np.mean(draws, 0), ddof=1)) if images else 0.
    whole = of_seeds + of_images
    freedom = (number - 1) * (whole / of_seeds) ** 2 if of_seeds else np.inf
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * whole ** 0.5
    return Interval(mean, mean - reach, mean + reach, images)
